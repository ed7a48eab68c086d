"""The option `value_range`: its spellings, and one spelling in configurations."""

import pytest

from distill.config.base import DATA_FIELDS, NEUTRAL_VALUES
from distill.config.distillation import DistillationConfig
from distill.config.selection import SelectionConfig
from distill.errors import UserError
from distill.value_range import parse_value_range


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("0:4095", (0, 4095)), ("0,4095", (0, 4095)), ("0-4095", (0, 4095))),
        *((" 0 : 4095.0 ", (0, 4095)), ("-1024:3071", (-1024, 3071)), ("-2--1", (-2, -1))),
        *(("0:1.5", (0, 1.5)), ("000:010", (0, 10))),
    ],
)
def test_spellings_are_understood(text: str, expected: tuple[float, float]) -> None:
    assert parse_value_range(text) == expected


@pytest.mark.parametrize(
    "text", ["", "4095", "1:1", "2:1", "0:x", "0:1:2", "1e3:2e3", "0:" + "9" * 400]
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="value_range must be LOW:HIGH with LOW below HIGH, got"):
        DistillationConfig(value_range=text)


@pytest.mark.parametrize("kind", [DistillationConfig, SelectionConfig])
def test_configurations_keep_one_spelling(
    kind: type[DistillationConfig] | type[SelectionConfig],
) -> None:
    configs = [kind(value_range=text) for text in ("0:4095", "0, 4095.0", "00-4095")]
    assert {config.value_range for config in configs} == {"0:4095"}
    assert len({config.trial_id for config in configs}) == 1
    assert configs[0].trial_id != kind().trial_id
    assert configs[0].data_arguments()["value_range"] == "0:4095"
    assert "value_range" in DATA_FIELDS


@pytest.mark.parametrize("kind", [DistillationConfig, SelectionConfig])
def test_new_fields_at_their_defaults_keep_the_identity(
    kind: type[DistillationConfig] | type[SelectionConfig],
) -> None:
    """Results from before these fields existed stay valid."""
    expected = {DistillationConfig: IDENTITIES[0], SelectionConfig: IDENTITIES[1]}[kind]
    assert kind().trial_id == expected
    fields = kind.static_fields()
    neutral = {name: value for name, value in NEUTRAL_VALUES.items() if name in fields}
    assert "on_small_class" in neutral
    assert kind(**neutral).trial_id == expected
    assert kind(on_small_class="cap").trial_id != expected
    weighted = {
        DistillationConfig: {"weights": "size"},
        SelectionConfig: {"selector": "nearest_center"},
    }[kind]
    assert kind(**weighted, weights_in="training").trial_id != kind(**weighted).trial_id


IDENTITIES = ("6431454d25f9dcec", "6c6f35c24a66633e")
"""Of the default configurations, without fields that were added later."""
