"""Run trials on a Ray cluster."""
