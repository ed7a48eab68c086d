"""Components and their options: declaration, checks, parsing, registries."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import FrozenInstanceError, dataclass
from fractions import Fraction
from typing import Any, ClassVar, Literal

import pytest

from distill.clustering.registry import CLUSTERERS, EMBEDDINGS, BirchOptions
from distill.components import (
    Component,
    NoOptions,
    Registry,
    SearchRange,
    check_options,
    checked,
    choice,
    exclusive_pairs,
    fields_of,
    is_derived,
    known_names,
    option,
    option_type,
    parsed,
    plain_type,
    registry_of,
    resolve_reference,
)
from distill.config.recipes import RECIPES
from distill.errors import UserError
from distill.kinds import KINDS
from distill.networks.registry import NETWORKS
from distill.selection.registry import POOL_EMBEDDINGS, PUBLISHED_FORMS, SELECTORS

REGISTRIES = {
    "clusterers": CLUSTERERS,
    "embeddings": EMBEDDINGS,
    "networks": NETWORKS,
    "pool embeddings": POOL_EMBEDDINGS,
    "recipes": RECIPES,
    "selectors": SELECTORS,
}


@dataclass(frozen=True, kw_only=True)
class SpoonOptions:
    """Options of every type that there is."""

    exclusive: ClassVar[tuple[tuple[str, str], ...]] = (("length", "weight"),)

    length: float = option(20.0, "in centimetres", above=0, below=100)
    weight: float | None = option(None, "in grams", minimum=1, maximum=500)
    count: int = option(1, "how many", minimum=1)
    material: Literal["wood", "steel", "none"] = option("steel", "what it is made of")
    polished: bool = option(False, "whether it shines")
    handle: str | None = option(None, "shape of the handle")
    engraving: str = option("", "text on it")
    size: int = option(None, "follows from the length", minimum=1)
    note: str = "no option: it is not made by option()"

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, kw_only=True)
class Spoon:
    """What `SPOONS` build."""

    shape: str
    count: int = 1


SPOONS = Registry(
    "spoon",
    {
        "tea": Component(build=Spoon, fixed={"shape": "small"}, label="Tea spoon"),
        "soup": Component(build=Spoon, fixed={"shape": "large"}, options=SpoonOptions),
        "ladle": Component(
            build="tests.distill.test_components:Spoon", fixed={"shape": "deep"}, published="soup"
        ),
    },
)


@dataclass(frozen=True, kw_only=True)
class DrawerOptions:
    """Options that name components."""

    spoon: str = choice("tea", SPOONS, "which spoon", excluded=("ladle",))
    further: tuple[str, ...] = choice((), SPOONS, "more spoons")


SPOON, DRAWER = fields_of(SpoonOptions), fields_of(DrawerOptions)


def test_fields_are_those_made_by_option_in_their_order() -> None:
    assert list(SPOON) == [
        *("length", "weight", "count", "material", "polished", "handle", "engraving", "size"),
    ]
    assert fields_of(NoOptions) == {}
    assert SPOON["count"].metadata["help"] == "how many"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("length", (float, (), False)),
        ("weight", (float, (), True)),
        ("count", (int, (), False)),
        ("material", (str, ("wood", "steel", "none"), False)),
        ("polished", (bool, (), False)),
        ("handle", (str, (), True)),
    ],
)
def test_types_of_options(name: str, expected: tuple[type, tuple[str, ...], bool]) -> None:
    assert option_type(SPOON[name]) == expected
    assert plain_type(SPOON[name]) is expected[0]


def test_a_choice_knows_its_registry_and_its_names() -> None:
    assert option_type(DRAWER["further"]) == (tuple, (), False)
    assert registry_of(DRAWER["spoon"]) is SPOONS
    assert registry_of(SPOON["count"]) is None
    assert known_names(DRAWER["spoon"]) == ("tea", "soup")
    assert known_names(DRAWER["further"]) == ("tea", "soup", "ladle")


def test_only_a_none_that_is_no_value_is_derived() -> None:
    assert [name for name, declared in SPOON.items() if is_derived(declared)] == ["size"]


def test_an_option_of_two_types_is_refused() -> None:
    @dataclass(frozen=True)
    class TwoTypes:
        width: int | str = option(1, "a number or a word")

    with pytest.raises(TypeError, match="option width must have one type"):
        option_type(fields_of(TwoTypes)["width"])


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("length", 3, 3.0),
        ("weight", None, None),
        ("weight", 1, 1.0),
        ("weight", 500.0, 500.0),
        ("size", None, None),
        ("polished", True, True),
    ],
)
def test_checked_returns_the_value_in_its_type(name: str, given: object, value: object) -> None:
    found = checked(name, SPOON[name], given)

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("count", None, "count must be of type int, got None"),
        ("count", True, "count must be of type int, got True"),
        ("count", 1.0, "count must be of type int, got 1.0"),
        ("count", "1", "count must be of type int, got '1'"),
        ("count", 0, "count must be at least 1, got 0"),
        ("length", 0.0, "length must be above 0 and below 100, got 0.0"),
        ("length", 100.0, "length must be above 0 and below 100, got 100.0"),
        ("length", float("nan"), "length must be finite, got nan"),
        ("length", float("-inf"), "length must be finite, got -inf"),
        ("length", 10**400, "length must be of type float, got 1000"),
        ("length", Fraction(1, 2), "length must be of type float, got Fraction(1, 2)"),
        ("weight", 0.5, "weight must be at least 1 and at most 500, got 0.5"),
        ("weight", 501, "weight must be at least 1 and at most 500, got 501"),
        ("material", "stel", "unknown material 'stel'; did you mean 'steel'?"),
        ("material", None, "material must be of type str, got None"),
        ("polished", 1, "polished must be of type bool, got 1"),
    ],
)
def test_checked_names_what_must_hold(name: str, given: object, message: str) -> None:
    with pytest.raises(UserError) as error:
        checked(name, SPOON[name], given)

    assert str(error.value).startswith(message)


def test_names_of_components_are_checked() -> None:
    assert checked("further", DRAWER["further"], ["tea", "ladle"]) == ("tea", "ladle")
    with pytest.raises(UserError, match=r"unknown spoon 'ladle'.* \(known: tea, soup\)"):
        checked("spoon", DRAWER["spoon"], "ladle")
    with pytest.raises(UserError, match="unknown spoon 'fork'"):
        checked("further", DRAWER["further"], ("tea", "fork"))
    with pytest.raises(UserError, match="further must be of type tuple, got 'tea'"):
        checked("further", DRAWER["further"], "tea")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("length", "1e1", 10.0),
        ("weight", "none", None),
        ("weight", "None", None),
        ("size", "none", None),
        ("count", "-3", -3),
        ("material", "none", "none"),
        ("polished", "True", True),
        ("polished", "false", False),
        ("handle", "None", None),
    ],
)
def test_parsed_returns_the_type_of_the_option(name: str, text: str, value: object) -> None:
    assert parsed(name, SPOON[name], text) == value


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("count", "none", "count must be a whole number, got 'none'"),
        ("count", "1.5", "count must be a whole number, got '1.5'"),
        ("length", "long", "length must be a number, got 'long'"),
        ("polished", "yes", "unknown polished 'yes' (known: true, false)"),
    ],
)
def test_parsed_refuses_text_of_another_type(name: str, text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        parsed(name, SPOON[name], text)

    assert str(error.value) == message


def test_parsed_splits_names() -> None:
    assert parsed("further", DRAWER["further"], "tea,soup") == ("tea", "soup")
    assert parsed("further", DRAWER["further"], "") == ()


def test_options_built_directly_are_checked() -> None:
    spoon = SpoonOptions(length=3)

    assert type(spoon.length) is float
    with pytest.raises(FrozenInstanceError):
        spoon.length = 4.0  # type: ignore[misc]
    with pytest.raises(UserError, match="count must be at least 1, got 0"):
        SpoonOptions(count=0)
    with pytest.raises(UserError, match=r"give length or weight, not both; got 20.0 and 3.0"):
        SpoonOptions(weight=3)


def test_exclusive_pairs_of_options() -> None:
    assert exclusive_pairs(SpoonOptions) == (("length", "weight"),)
    assert exclusive_pairs(BirchOptions) == ()


class TestRegistry:
    def test_is_a_mapping_in_the_order_given(self) -> None:
        assert list(SPOONS) == ["tea", "soup", "ladle"]
        assert len(SPOONS) == 3
        assert "tea" in SPOONS
        assert "fork" not in SPOONS
        assert SPOONS.get("tea") is SPOONS["tea"]
        assert SPOONS.get("fork") is None

    def test_an_unknown_name_is_an_error_with_the_nearest(self) -> None:
        with pytest.raises(UserError, match="unknown spoon 'lade'; did you mean 'ladle'"):
            SPOONS["lade"]
        with pytest.raises(UserError, match="unknown spoon 5"):
            SPOONS.build(5)  # type: ignore[arg-type]

    def test_builds_from_a_callable_or_from_its_place(self) -> None:
        assert SPOONS.build("tea") == Spoon(shape="small")
        built = SPOONS.build("ladle", count=2)
        assert (type(built).__name__, built.shape, built.count) == ("Spoon", "deep", 2)
        assert resolve_reference(Spoon) is Spoon

    def test_labels_are_the_names_where_there_are_none(self) -> None:
        assert [SPOONS.label(name) for name in ("tea", "soup", "fork")] == [
            *("Tea spoon", "soup", "fork"),
        ]

    def test_published_variants_by_name(self) -> None:
        assert SPOONS.published_variants() == {"ladle": "soup"}

    def test_a_registered_component_is_there_for_a_context(self) -> None:
        with SPOONS.registered("fork", Component(build=Spoon)):
            assert "fork" in SPOONS
        assert "fork" not in SPOONS
        with pytest.raises(ZeroDivisionError), SPOONS.registered("fork", Component(build=Spoon)):
            raise ZeroDivisionError
        assert "fork" not in SPOONS

    def test_a_taken_name_is_refused(self) -> None:
        with pytest.raises(ValueError, match="spoon 'tea' is registered already"):
            SPOONS.register("tea", Component(build=Spoon))
        assert SPOONS["tea"].label == "Tea spoon"

    def test_an_option_of_another_type_is_refused(self) -> None:
        @dataclass(frozen=True, kw_only=True)
        class Clash:
            count: float = option(1.0, "how many")

        with pytest.raises(ValueError, match="count of spoon 'fork' must be of type int, as it is"):
            SPOONS.register("fork", Component(build=Spoon, options=Clash))
        assert "fork" not in SPOONS


@pytest.fixture
def clashing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def _options(**fields: Any) -> type:
    """A dataclass of options, from name → (type, default)."""
    return dataclass(frozen=True, kw_only=True)(
        type(
            "Options",
            (),
            {name: option(default, "a clash") for name, (_, default) in fields.items()}
            | {"__annotations__": {name: kind for name, (kind, _) in fields.items()}},
        )
    )


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (
            _options(ipc=(int, 3)),
            "distillation",
            "option ipc of clusterer 'toy' has the name of a field of every distillation",
        ),
        (
            _options(depth=(float, 3.0)),
            "distillation",
            "option depth of network 'convnet' must be of type float, as another component's is",
        ),
        (
            _options(device=(str, "x")),
            "distillation",
            "option device of kind 'distillation' has the name of a result column",
        ),
        (
            _options(n_pool=(int, 3)),
            "selection",
            "option n_pool of kind 'selection' has the name of a result column",
        ),
    ],
)
def test_option_names_that_clash_are_refused(
    clashing: ExitStack, options: type, kind: str, message: str
) -> None:
    clashing.enter_context(CLUSTERERS.registered("toy", Component(build=Spoon, options=options)))

    with pytest.raises(ValueError, match=message):
        KINDS[kind].config_columns  # noqa: B018 - the property checks


@pytest.mark.parametrize("registry", REGISTRIES.values(), ids=REGISTRIES)
def test_every_component_can_be_imported_and_documented(registry: Registry) -> None:
    for name, component in registry.items():
        is_built = name != "augmentation"  # which transforms what another selector chooses
        if is_built and registry in (CLUSTERERS, NETWORKS, SELECTORS):
            assert callable(resolve_reference(component.build)), name
        else:
            assert component.build is None, name
        assert component.options.__doc__, name
        component.options()
        for option_name, declared in fields_of(component.options).items():
            assert declared.metadata["help"], (name, option_name)
            checked(option_name, declared, declared.default)


@pytest.mark.parametrize("registry", REGISTRIES.values(), ids=REGISTRIES)
def test_published_variants_are_components(registry: Registry) -> None:
    assert set(registry.published_variants().values()) <= set(registry)


def test_published_forms_are_those_that_cannot_be_chosen() -> None:
    variants = SELECTORS.published_variants()

    assert set(PUBLISHED_FORMS) == {form for name, form in variants.items() if form != name}


@pytest.mark.parametrize("registry", [CLUSTERERS, SELECTORS], ids=lambda one: one.noun)
def test_searches_stay_within_what_an_option_may_be(registry: Registry) -> None:
    for component in registry.values():
        for name, declared in fields_of(component.options).items():
            search = declared.metadata["search"]
            if isinstance(search, SearchRange):
                plain = option_type(declared).plain
                for end in search[:2]:
                    assert checked(name, declared, plain(end)) == end
            for word in () if isinstance(search, SearchRange) else search or ():
                assert checked(name, declared, word) == word


def test_choices_without_an_implementation_are_not_built() -> None:
    with pytest.raises(TypeError, match="embedding 'pixels' is not built; use its name"):
        EMBEDDINGS.build("pixels")
