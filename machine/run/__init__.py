"""A run's folder: its files, lock, metrics, status, and what a person sees of it."""
