"""The files of Ray's cluster launcher, as Ray, EC2 and Compute Engine read them."""

import copy
import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import boto3
import jsonschema
import pytest
from moto import mock_aws
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.gcp.config import _configure_subnet
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.cluster_configs.files import LAUNCHER, filled, load

pytestmark = pytest.mark.lengthy

CLOUDS = ("aws", "gcp")
REGION = "us-west-2"


def prepared(name: str, values: dict[str, str] | None = None) -> dict[str, Any]:
    """A file as `ray up` reads it: with Ray's defaults, checked by Ray's schema."""
    config = prepare_config(load(filled(f"{name}.yaml", values)))
    validate_config(config)
    assert isinstance(config, dict)
    return config


def start_commands(config: dict[str, Any]) -> list[str]:
    commands = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    return [command for command in commands if "ray start" in command]


@pytest.mark.parametrize("name", LAUNCHER)
def test_ray_takes_the_file(name: str) -> None:
    config = prepared(name)

    assert config["provider"]["type"] == {"on_premises": "local"}.get(name, name)


def test_the_schema_refuses_a_misspelt_key() -> None:
    config = prepare_config(load(filled("aws.yaml")))
    config["max_worker"] = config.pop("max_workers")

    with pytest.raises(jsonschema.ValidationError, match="max_worker"):
        validate_config(config)


@pytest.mark.parametrize("name", CLOUDS)
def test_the_head_is_kept_and_runs_no_trials(name: str) -> None:
    config = prepared(name)
    head = config["available_node_types"][config["head_node_type"]]

    assert head["resources"] == {"CPU": 0}
    assert head["max_workers"] == 0, "no second one among the workers"
    assert "InstanceMarketOptions" not in head["node_config"]
    assert "scheduling" not in head["node_config"]


@pytest.mark.parametrize("name", CLOUDS)
def test_workers_come_with_the_work_and_have_a_limit(name: str) -> None:
    config = prepared(name)
    (workers,) = (
        node
        for key, node in config["available_node_types"].items()
        if key != config["head_node_type"]
    )

    assert workers["resources"]["GPU"] >= 1
    assert workers["min_workers"] == 0
    assert 0 < workers["max_workers"] <= config["max_workers"] <= 16
    assert 0 < config["idle_timeout_minutes"] <= 10


@pytest.mark.parametrize("name", LAUNCHER)
def test_nobody_gets_in_without_the_token(name: str) -> None:
    config = prepared(name)
    starts = start_commands(config)

    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token ray start" in command for command in starts)
    assert config["file_mounts"].get("~/.ray/auth_token") == "~/.ray/auth_token"


@pytest.mark.parametrize("name", LAUNCHER)
def test_the_dashboard_is_for_the_head_alone(name: str) -> None:
    """Ray's own defaults open it to the network."""
    head, worker = start_commands(prepared(name))

    assert "--dashboard-host=127.0.0.1" in head
    assert "--num-cpus=0" in head
    assert "dashboard" not in worker
    assert "0.0.0.0" not in filled(f"{name}.yaml")  # noqa: S104


@pytest.mark.parametrize("name", LAUNCHER)
def test_all_nodes_install_the_same_and_start_ray_from_it(name: str) -> None:
    config = prepared(name)
    install = [command for command in config["setup_commands"] if "uv pip install" in command]

    assert len(install) == 1
    assert install[0].endswith("--requirements requirements.txt"), "the pins and nothing else"
    assert config["file_mounts"]["~/dream-sweep/requirements.txt"] == (
        "cluster_configs/requirements.txt"
    )
    for kind in ("head_setup_commands", "worker_setup_commands"):
        assert config[kind][: len(config["setup_commands"])] == config["setup_commands"]
    for command in start_commands(config):
        assert "PATH=~/dream-sweep/venv/bin:$PATH" in command


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """An emulated AWS account with what the README has its user make: values for the markers."""
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray keeps its SSH key there
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
    with mock_aws():
        ec2, iam = boto3.client("ec2", REGION), boto3.client("iam", REGION)
        network = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        group = ec2.create_security_group(GroupName="own", Description="own", VpcId=network)
        for profile in ("own-head", "own-worker"):
            iam.create_instance_profile(InstanceProfileName=profile)
        yield {
            "FILL_IN_REGION": REGION,
            "FILL_IN_AMI_ID": ec2.describe_images()["Images"][0]["ImageId"],
            "FILL_IN_SECURITY_GROUP_ID": group["GroupId"],
            "FILL_IN_HEAD_INSTANCE_PROFILE": "own-head",
            "FILL_IN_WORKER_INSTANCE_PROFILE": "own-worker",
        }


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
def test_ray_starts_the_machines_on_ec2_with_our_rights_only(account: dict[str, str]) -> None:
    """Ray's own code against an emulated EC2, which knows instance types and their GPUs."""
    config = prepared("aws", account)
    without = copy.deepcopy(config)
    without["available_node_types"]["gpu"]["resources"] = {}
    found = AWSNodeProvider.fillout_available_node_types_resources(without)
    actual = found["available_node_types"]["gpu"]["resources"]
    assert config["available_node_types"]["gpu"]["resources"] == {
        "CPU": actual["CPU"],
        "GPU": actual["GPU"],
    }

    config = bootstrap_aws(config)
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    for kind, node in config["available_node_types"].items():
        provider.create_node(node["node_config"], {"ray-node-kind": kind}, 1)

    ec2 = boto3.resource("ec2", REGION)
    started = {
        next(tag["Value"] for tag in instance.tags if tag["Key"] == "ray-node-kind"): instance
        for instance in ec2.instances.all()
    }
    assert started["head"].instance_lifecycle is None
    assert started["gpu"].instance_lifecycle == "spot"
    for kind, profile in (("head", "own-head"), ("gpu", "own-worker")):
        assert started[kind].iam_instance_profile["Arn"].endswith(f"/{profile}")
        groups = [group["GroupId"] for group in started[kind].security_groups]
        assert groups == [account["FILL_IN_SECURITY_GROUP_ID"]]
    assert {group.group_name for group in ec2.security_groups.all()} == {"default", "own"}
    assert boto3.client("iam", REGION).list_roles()["Roles"] == [], "none of Ray's making"


def require_fits(value: Any, schema: dict[str, Any], schemas: dict[str, Any], where: str) -> None:
    """Raises an AssertionError where a request is not as one of Google's discovery documents says.

    Args:
        value: the request or a part of it.
        schema: what it should be.
        schemas: all schemas of the document.
        where: of the part, for messages.
    """
    schema = schemas[schema["$ref"]] if "$ref" in schema else schema
    if "properties" in schema:
        assert isinstance(value, dict), f"{where} must be an object"
        for key, part in value.items():
            assert key in schema["properties"], f"{where}.{key} does not exist"
            require_fits(part, schema["properties"][key], schemas, f"{where}.{key}")
    elif schema.get("type") == "array":
        assert isinstance(value, list), f"{where} must be a list"
        for part in value:
            require_fits(part, schema["items"], schemas, f"{where}[]")
    elif "enum" in schema:
        assert value in schema["enum"], f"{where} must be one of {schema['enum']}"
    else:
        kind = {"string": str, "boolean": bool, "integer": int}[schema["type"]]
        assert type(value) is kind or schema.get("format") == "int64", f"{where} must be a {kind}"


@pytest.fixture(scope="module")
def compute_engine() -> dict[str, Any]:
    """The schemas of Google's discovery document, which its client brings."""
    documents = files("googleapiclient") / "discovery_cache" / "documents"
    schemas = json.loads((documents / "compute.v1.json").read_text())["schemas"]
    assert isinstance(schemas, dict)
    return schemas


@pytest.mark.parametrize("kind", ["head", "gpu"])
def test_compute_engine_knows_every_field(kind: str, compute_engine: dict[str, Any]) -> None:
    node = prepared("gcp")["available_node_types"][kind]["node_config"]

    require_fits(node, {"$ref": "Instance"}, compute_engine, kind)


def test_compute_engine_refuses_what_ray_s_schema_lets_pass(compute_engine: dict[str, Any]) -> None:
    node = prepared("gcp")["available_node_types"]["gpu"]["node_config"]
    as_list = node | {"scheduling": [node["scheduling"]]}
    misspelt = node | {"scheduling": {"provisionningModel": "SPOT"}}

    with pytest.raises(AssertionError, match=r"gpu\.scheduling must be an object"):
        require_fits(as_list, {"$ref": "Instance"}, compute_engine, "gpu")
    with pytest.raises(AssertionError, match=r"gpu\.scheduling\.provisionningModel does not"):
        require_fits(misspelt, {"$ref": "Instance"}, compute_engine, "gpu")


def test_the_machines_on_compute_engine_are_spot_with_our_rights_and_network_only() -> None:
    config = prepared("gcp")
    head, gpu = (config["available_node_types"][key]["node_config"] for key in ("head", "gpu"))

    assert gpu["scheduling"]["provisioningModel"] == "SPOT"
    assert gpu["scheduling"]["instanceTerminationAction"] == "DELETE", "stopped ones cost disks"
    assert gpu["machineType"].startswith("g2-"), "brings its GPU"
    assert [account["email"] for account in head["serviceAccounts"]] == ["head-service-account"]
    assert [account["email"] for account in gpu["serviceAccounts"]] == ["worker-service-account"]
    assert _configure_subnet(config, None) == config, "Ray looks for no other network"


def test_a_machine_of_ones_own_is_started_as_it_is() -> None:
    config = prepared("on_premises")

    assert config["provider"]["head_ip"] == "head-ip"
    assert config["provider"]["worker_ips"] == ["worker-ips"]
    assert config["max_workers"] == 1, "all that are listed"
    assert "--num-gpus=0" in start_commands(config)[0]
