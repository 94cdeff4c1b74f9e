"""`munro sides` and `munro thoughts` on the command line: looking at what models wrote."""
