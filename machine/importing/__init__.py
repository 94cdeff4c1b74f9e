"""Configurations of other trainers, as recipes: `munro import trl.py | verl.yaml | prime-rl.toml`.

Nothing of theirs is run: a script is parsed, never executed.
"""
