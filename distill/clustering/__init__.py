"""Clusterers, one file per method, and the embeddings that they work on."""
