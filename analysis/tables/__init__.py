"""Tables: `build` computes their numbers, `sheet` sets them in print."""

from analysis.tables.printing import print_paper1_tables, print_paper2_tables

__all__ = ["print_paper1_tables", "print_paper2_tables"]
