"""Networks that are matched, clustered with and evaluated."""
