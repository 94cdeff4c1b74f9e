"""Every trajectory of a run, on disk: Parquet, one row an attempt."""
