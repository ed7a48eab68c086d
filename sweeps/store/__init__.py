"""The Parquet results store."""
