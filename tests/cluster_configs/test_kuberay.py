"""The RayJob against KubeRay's fields, which its own schema does not enforce."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from distill.config.distillation import DistillationConfig
from sweeps import full_grid
from tests.cluster_configs.files import filled, load

SCHEMA = json.loads((Path(__file__).parent / "rayjob_schema.json").read_text())


@pytest.fixture
def job() -> dict[str, Any]:
    return load(filled("kuberay_rayjob.yaml"))


def pods(job: dict[str, Any]) -> dict[str, Any]:
    """Pod specifications by group."""
    cluster = job["spec"]["rayClusterSpec"]
    groups = {"head": cluster["headGroupSpec"]} | {
        group["groupName"]: group for group in cluster["workerGroupSpecs"]
    }
    return {name: group["template"]["spec"] for name, group in groups.items()}


def test_every_field_is_known(job: dict[str, Any]) -> None:
    jsonschema.validate(job, SCHEMA)


@pytest.mark.parametrize(
    ("path", "name", "misspelt"),
    [
        (("spec",), "entrypoint", "entryPoint"),
        (("spec", "rayClusterSpec"), "rayVersion", "rayversion"),
        (("spec", "rayClusterSpec", "authOptions"), "mode", "type"),
        (("spec", "rayClusterSpec", "headGroupSpec"), "rayStartParams", "rayStartParameters"),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0), "minReplicas", "minimumReplicas"),
        (
            ("spec", "rayClusterSpec", "workerGroupSpecs", 0, "template", "spec"),
            "nodeSelector",
            "nodeSelectors",
        ),
    ],
)
def test_a_misspelt_field_is_found(
    job: dict[str, Any], path: tuple[str | int, ...], name: str, misspelt: str
) -> None:
    changed: Any = copy.deepcopy(job)
    part = changed
    for step in path:
        part = part[step]
    part[misspelt] = part.pop(name)

    with pytest.raises(jsonschema.ValidationError, match=f"'{misspelt}' was unexpected|{name}"):
        jsonschema.validate(changed, SCHEMA)


def test_nobody_gets_in_without_the_token_and_nothing_is_public(job: dict[str, Any]) -> None:
    cluster = job["spec"]["rayClusterSpec"]

    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert cluster["headGroupSpec"]["enableIngress"] is False


def test_the_head_runs_no_trials_and_the_workers_are_spot(job: dict[str, Any]) -> None:
    cluster = job["spec"]["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]

    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert "nodeSelector" not in pods(job)["head"]
    assert pods(job)["gpu"]["nodeSelector"] == {"spot-label": "spot-value"}
    tolerated = {toleration["key"] for toleration in pods(job)["gpu"]["tolerations"]}
    assert tolerated == {"nvidia.com/gpu", "spot-label"}
    assert group["minReplicas"] == group["replicas"] == 0
    assert 0 < group["maxReplicas"] <= 16
    (container,) = pods(job)["gpu"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_the_autoscaler_is_the_second_and_a_lost_head_is_a_retry(job: dict[str, Any]) -> None:
    cluster = job["spec"]["rayClusterSpec"]

    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["autoscalerOptions"]["version"] == "v2"
    assert job["spec"]["backoffLimit"] >= 2
    assert job["spec"]["shutdownAfterJobFinishes"] is True


def test_pods_have_the_rights_they_need_only(job: dict[str, Any]) -> None:
    assert pods(job)["gpu"]["automountServiceAccountToken"] is False
    for name, pod in pods(job).items():
        assert pod["securityContext"] == {"runAsNonRoot": True, "runAsUser": 1000}, name
        assert pod["serviceAccountName"] == {"head": "head", "gpu": "worker"}[name] + (
            "-service-account"
        )
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }


def test_all_pods_have_one_image(job: dict[str, Any]) -> None:
    images = {container["image"] for pod in pods(job).values() for container in pod["containers"]}

    assert images == {"image"}


def test_the_entrypoint_is_a_sweep_that_needs_no_gpu_to_start(job: dict[str, Any]) -> None:
    program, script, *arguments = job["spec"]["entrypoint"].split()

    assert (program, script) == ("python", "/dream-sweep/sweeps/full_grid.py")
    assert all(isinstance(trial, DistillationConfig) for trial in full_grid.COMMAND.plan(arguments))
    assert "--gpus-per-trial" in arguments
    assert "--results" in arguments
    data_root = arguments[arguments.index("--data-root") + 1]
    assert data_root.startswith("/tmp/"), "the image's own folder is not the user's"  # noqa: S108


def test_a_stopped_job_has_time_for_checkpoints(job: dict[str, Any]) -> None:
    environment = load(job["spec"]["runtimeEnvYAML"])["env_vars"]

    assert int(environment["RAY_JOB_STOP_WAIT_TIME_S"]) >= 10
