"""The files of `cluster_configs/`, and what the tests ask of all of them."""

import re
from typing import Any

import yaml

from tests.paths import ROOT

FOLDER = ROOT / "cluster_configs"
LAUNCHER = ("aws", "gcp", "on_premises")

MARKERS = {
    "aws.yaml": {
        "FILL_IN_REGION",
        "FILL_IN_AMI_ID",
        "FILL_IN_SECURITY_GROUP_ID",
        "FILL_IN_HEAD_INSTANCE_PROFILE",
        "FILL_IN_WORKER_INSTANCE_PROFILE",
    },
    "gcp.yaml": {
        "FILL_IN_PROJECT_ID",
        "FILL_IN_REGION",
        "FILL_IN_ZONE",
        "FILL_IN_IMAGE",
        "FILL_IN_SUBNETWORK",
        "FILL_IN_HEAD_SERVICE_ACCOUNT",
        "FILL_IN_WORKER_SERVICE_ACCOUNT",
    },
    "on_premises.yaml": {
        "FILL_IN_HEAD_IP",
        "FILL_IN_WORKER_IPS",
        "FILL_IN_SSH_USER",
        "FILL_IN_SSH_PRIVATE_KEY",
    },
    "kuberay_rayjob.yaml": {
        "FILL_IN_RESULTS_URI",
        "FILL_IN_HEAD_SERVICE_ACCOUNT",
        "FILL_IN_WORKER_SERVICE_ACCOUNT",
        "FILL_IN_IMAGE",
        "FILL_IN_SPOT_LABEL",
        "FILL_IN_SPOT_VALUE",
    },
    "slurm.sh": {"FILL_IN_PARTITION", "FILL_IN_ACCOUNT", "FILL_IN_GPUS_PER_NODE"},
}
"""File → all that its user must fill in."""


def text_of(name: str) -> str:
    """A file as it is in the repository."""
    return (FOLDER / name).read_text()


def markers(text: str) -> set[str]:
    """What is still to be filled in."""
    return set(re.findall(r"FILL_IN_[A-Z_]+", text))


def filled(name: str, values: dict[str, str] | None = None) -> str:
    """A file with every marker replaced: by its value, else by its name in lower case."""
    values = values or {}
    return re.sub(
        r"FILL_IN_([A-Z_]+)",
        lambda found: values.get(found[0], found[1].lower().replace("_", "-")),
        text_of(name),
    )


def load(text: str) -> dict[str, Any]:
    """The one document of a YAML file."""
    document = yaml.safe_load(text)
    assert isinstance(document, dict)
    return document
