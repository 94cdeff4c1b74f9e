"""Readers of pages that are pictures: a file each, found by name in `[scans]`."""
