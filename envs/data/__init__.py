"""Data sets: rows of files and of the hub, their columns, and tasks made of them."""
