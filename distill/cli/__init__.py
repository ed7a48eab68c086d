"""Command line of a single trial."""
