"""Files, checkpoints, clocks, memory, provenance and execution: what every part builds on."""
