"""Low-rank adapters: onto a frozen model (attach), into a folder and back (files)."""
