"""Answers that several attempts came to: which of them are one, and which of those wins."""
