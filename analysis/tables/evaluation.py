"""Tables of evaluations."""

from analysis.tables.layout import TableLayout

LAYOUT = TableLayout(kind="evaluation", row=("set",), baseline={"set": "random"}, size_field="ipc")
