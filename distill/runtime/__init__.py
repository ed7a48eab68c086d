"""Infrastructure of a trial: files, checkpoints, clocks, memory, provenance, execution."""
