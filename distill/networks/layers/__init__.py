"""Layers with fast forward, backward and double-backward passes."""
