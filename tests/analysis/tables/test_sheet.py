"""Printed tables: aligned, within their width, and safe whatever the names in the data are."""

import re

import pytest

from analysis.tables.sheet import Column, Sheet, latex, markdown, text_lines

SHEET = Sheet(
    name="fruit",
    title="Fruit & nuts: 50 % off",
    keys=(Column(heading="kind", cells=("apple", "fig_1 | *x*"), is_number=False),),
    columns=(
        Column(heading="weight\nmean (n)", cells=("10.50 ± 1.00 (3)", "−0.25 (1)")),
        Column(heading="n", cells=("1,000", "")),
    ),
    notes=("Prices in $ {each}.",),
)


def test_plain_text() -> None:
    assert text_lines(SHEET, 80) == [
        "                       weight",
        "kind                 mean (n)      n",
        "───────────  ────────────────  ─────",
        "apple        10.50 ± 1.00 (3)  1,000",
        "fig_1 | *x*  −0.25 (1)",
        "",
        "Prices in $ {each}.",
    ]


def test_columns_that_do_not_fit_go_below_with_the_keys_repeated() -> None:
    lines = text_lines(SHEET, 30)

    assert lines == [
        "                       weight",
        "kind                 mean (n)",
        "───────────  ────────────────",
        "apple        10.50 ± 1.00 (3)",
        "fig_1 | *x*  −0.25 (1)",
        "",
        "kind             n",
        "───────────  ─────",
        "apple        1,000",
        "fig_1 | *x*",
        "",
        "Prices in $ {each}.",
    ]
    assert max(map(len, lines)) <= 30


def test_a_column_wider_than_the_terminal_is_shown_all_the_same() -> None:
    lines = text_lines(SHEET, 5)

    assert sum("10.50 ± 1.00 (3)" in line for line in lines) == 1
    assert sum("1,000" in line for line in lines) == 1


def test_notes_are_wrapped() -> None:
    sheet = Sheet(name="n", title="t", keys=SHEET.keys, columns=(), notes=("word " * 30,))

    lines = text_lines(sheet, 40)[5:]

    assert len(lines) > 3
    assert max(map(len, lines)) <= 40
    assert "".join(lines).replace(" ", "") == "word" * 30


def test_markdown() -> None:
    assert markdown(SHEET).splitlines() == [
        "**Fruit & nuts: 50 % off**",
        "",
        "| kind | weight mean (n) | n |",
        "| :--- | ---: | ---: |",
        "| apple | 10.50 ± 1.00 (3) | 1,000 |",
        r"| fig\_1 \| \*x\* | −0.25 (1) |  |",
        "",
        r"- Prices in \$ {each}.",
    ]


def test_latex() -> None:
    assert latex(SHEET).splitlines() == [
        r"\begin{table}",
        r"\centering\small",
        r"\caption{Fruit \& nuts: 50 \% off}",
        r"\label{tab:fruit}",
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r" & weight &  \\",
        r"kind & mean (n) & n \\",
        r"\midrule",
        r"apple & 10.50 $\pm$ 1.00 (3) & 1,000 \\",
        r"fig\_1 | *x* & $-$0.25 (1) &  \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\par\footnotesize Prices in \$ \{each\}.",
        r"\end{table}",
    ]


NASTY = "a\\b{c}$d&e#f%g_h^i~j|k*l`m[n]<o>\np"


def test_nothing_from_data_is_markup_in_latex() -> None:
    sheet = Sheet(name="n", title=NASTY, keys=SHEET.keys, columns=(), notes=())

    caption = latex(sheet).split(r"\caption{", 1)[1].split("\n\\label", 1)[0].removesuffix("}")

    # Without its commands and escaped characters no active character is left.
    plain = re.sub(r"\\(textbackslash|textasciitilde|textasciicircum)\{\}|\\[&%$#_{}]", "", caption)
    assert not re.search(r"[\\{}$&#%_^~\n]", plain)
    assert caption.count(r"\textbackslash{}") == 1


def test_nothing_from_data_is_markup_in_markdown() -> None:
    sheet = Sheet(name="n", title=NASTY, keys=SHEET.keys, columns=(), notes=())

    title = markdown(sheet).splitlines()[0].removeprefix("**").removesuffix("**")

    assert not re.search(r"(?<!\\)[`*_|<>$\[\]]", title)
    assert title.replace("\\\\", "/").count("\\") == len("_|*`[]<>$")


@pytest.mark.parametrize(
    "render", [markdown, latex, lambda sheet: "\n".join(text_lines(sheet, 80))]
)
def test_rendering_has_no_memory(render: object) -> None:
    assert callable(render)
    assert render(SHEET) == render(SHEET)
