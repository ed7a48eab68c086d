"""Many trials: grids and searches over `distill` trials, run by Ray, stored as Parquet."""
