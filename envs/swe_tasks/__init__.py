"""Folders of tasks as others have them, and the proof that a folder is what it says.

check     gold passes, nothing does not, twins, leaks, hacks
rows      SWE-bench's columns, both ways
harbor    folders that Harbor builds and runs
"""
