"""Command-line options, live display and labels shared by the sweep commands."""
