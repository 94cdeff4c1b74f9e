"""Judges beside people: how far they agree, what a place buys, and whether one is being played."""
