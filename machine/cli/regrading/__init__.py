"""`munro regrade` on the command line."""
