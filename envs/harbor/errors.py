"""What is wrong with a folder of somebody else's, in one line."""

from __future__ import annotations


class BadFolder(ValueError):
    """A folder that holds no task, or one that cannot be had here. One line that says why."""

    is_sentence = True
