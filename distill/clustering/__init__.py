"""How images are clustered: one file a method, one protocol, one table of names."""
