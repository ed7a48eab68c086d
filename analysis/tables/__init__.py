"""Tables: `build` computes their numbers, `sheet` sets them in print."""

from analysis.tables.printing import print_study1_tables, print_study2_tables

__all__ = ["print_study1_tables", "print_study2_tables"]
