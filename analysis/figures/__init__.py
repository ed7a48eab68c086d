"""Figures: `build` computes their numbers, `draw` is ink only; one file a kind of figure."""
