"""Properties that hold for every configuration: round trip, and one identity everywhere."""

# ruff: noqa: S311 - values of tests, not secrets
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from distill.config.base import Config
from distill.kinds import KINDS, config_from_dict
from tests.distill.config.random_configs import random_configs
from tests.paths import ROOT

IDENTIFIED = """
import json, sys
from distill.kinds import config_from_dict
for line in sys.stdin:
    print(config_from_dict(json.loads(line)).trial_id)
"""


def plain(config: Config) -> dict[str, Any]:
    return {"kind": config.kind, **config.to_dict()}


def check_round_trip(configs: list[Config]) -> None:
    for config in configs:
        again = config_from_dict(json.loads(json.dumps(plain(config))))
        assert again == config
        resolved = config.resolve()
        assert config_from_dict(plain(resolved)).resolve() == resolved
        assert again.trial_id == config.trial_id == resolved.trial_id
        values = list(resolved.to_dict().items())
        random.Random(0).shuffle(values)
        assert type(config).identity_of(dict(values)) == config.trial_id


def check_other_process(configs: list[Config]) -> None:
    lines = []
    for config in configs:
        values = list(plain(config).items())
        random.Random(1).shuffle(values)
        lines.append(json.dumps(dict(values)))
    output = subprocess.run(
        [sys.executable, "-c", IDENTIFIED],
        input="\n".join(lines),
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert output.split() == [config.trial_id for config in configs]


def test_configurations_survive_json_in_any_order() -> None:
    configs = list(random_configs(seed=0, n=60))
    assert {config.kind for config in configs} == set(KINDS)
    assert len({config.trial_id for config in configs}) > len(configs) / 2
    check_round_trip(configs)


def test_identities_are_those_of_another_process() -> None:
    check_other_process(list(random_configs(seed=1, n=40)))


def test_paths_of_a_set_are_no_part_of_the_identity(tmp_path: Path) -> None:
    config = KINDS["evaluation"].config
    files = {"set_hash": "0123456789abcdef", "ipc": 1, "factor": 1}
    ids = {config.from_dict({"set": f"{tmp_path}/{i}.pt", **files}).trial_id for i in range(2)}
    other = config.from_dict({"set": f"{tmp_path}/0.pt", **files, "set_hash": "f" * 16})
    assert len(ids | {other.trial_id}) == 2


@pytest.mark.slow
def test_thousands_of_configurations_survive() -> None:
    configs = list(random_configs(seed=2, n=2_000))
    check_round_trip(configs)
    check_other_process(configs)
