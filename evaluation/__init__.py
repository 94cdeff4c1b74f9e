"""How good is it, and how sure are we? Kept results, intervals that hold, comparisons and gates.

Nothing here trains. A result is every attempt, on disk, comparable with any other over the same
tasks; a figure comes with its interval; and "cannot tell" is an answer.
"""
