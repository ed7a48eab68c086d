"""Grids of trials: presets, plan, progress, dry run and command."""
