"""Sides: what runs in the interpreter of somebody else's package, for `munro.envs.remote`.

Each file holds one class `Side` and needs the standard library and that package alone (Python
3.10 and later); `main.py` runs it by path, so that Munro need not be installed there. What a side
is and how to write one: docs/foreign.md.
"""
