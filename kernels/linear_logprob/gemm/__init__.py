"""The head on a GPU by a product of our own, whose logits never leave its registers."""
