"""The DREAM loop: matching, image optimiser and multi-formation."""
