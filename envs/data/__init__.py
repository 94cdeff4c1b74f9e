"""Data sets: rows of files and of the hub, their columns, tasks made of them; attempts as data."""
