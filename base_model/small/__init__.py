"""Bases small enough to be trained before a climb: the quickstart's and the tiny machine's."""
