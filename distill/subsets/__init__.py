"""How real images are chosen: one file a method, one table of names (registry.py)."""
