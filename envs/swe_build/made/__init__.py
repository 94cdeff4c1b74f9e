"""Tasks that are made: bugs put into a working tree, functions taken out of it."""
