"""The head on a GPU by library products, a pass over their rows, and library products again."""
