"""Choosing experts and sorting by them on a GPU: one read of the scores, one counting sort."""
