"""`munro questions` on the command line."""
