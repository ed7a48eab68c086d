"""Findings: what the results say about published claims."""
