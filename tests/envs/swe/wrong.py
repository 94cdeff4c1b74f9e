"""Patches that somebody could write in good faith: most are wrong, some of them nearly right."""

from __future__ import annotations

from itertools import product

from munro.envs.swe_build.mutate import mutations
from tests.envs.swe.tasks import ROADS, STONES, Small

HEIGHTS = (
    "len(wall) + 1", "max(wall)", "min(wall)", "sum(wall)", "sum(wall) + 1", "sum(wall) - 1",
    "sum(wall) * 2", "sum(wall[1:])", "sum(wall[:-1])", "sum(set(wall))", "float(sum(wall))",
    "str(sum(wall))", "[sum(wall)]", "7", "8", "0", "None", "True", "wall", "wall[0] + wall[-1]",
    "hieght(wall)", "wall.height", "sum(wall, 1)", "abs(max(wall))",
)  # fmt: skip
TOPS = (
    "raise ValueError('no wall')", "raise ValueError", "raise IndexError", "raise KeyError(wall)",
    "raise BufferError", "raise EOFError", "raise Exception('empty')", "return None", "return 0",
    "pass", "assert wall", "return wall[0]",
)  # fmt: skip
PARTS = (
    "part", "part.strip('/')", "part.rstrip('/')", "part.lstrip('/')", "part[1:]", "part.strip()",
    "part.replace('/', '')", "part.strip('/') + '/'", "part.split('/')[0]", "part.title()",
    "str(part)", "'a'",
)  # fmt: skip
JOINS = ("'/'", "''", "'//'", "'\\\\'", "os.sep", "' '", "'c'", "None")
HIGHEST = (
    "max(self.rows)", "min(self.rows)", "self.rows[-1]", "sorted(self.rows)[0]", "10", "9", "2",
    "sorted(self.rows)[-1]", "sum(self.rows)", "max(self.rows) + 1", "max(self.rows) - 1", "None",
    "max(self.rows[1:])", "max(self.rows[:-1])", "float(max(self.rows))", "str(max(self.rows))",
    "max(self.row)", "self.rows", "len(self.rows)", "max(*self.rows)",
)  # fmt: skip
ROWS = (
    "rows",
    "list(rows)",
    "rows[:]",
    "rows[1:]",
    "sorted(rows)",
    "None",
    "[0, *rows]",
    "set(rows)",
)


def wrong_patches(small: Small) -> list[str]:
    """Sources of the module, different from each other."""
    if small is STONES:
        found = [
            f"def height(wall):\n    return {height}\n\n\ndef top(wall):\n    if not wall:\n"
            f"        {top}\n    return wall[-1]\n"
            for height, top in product(HEIGHTS, TOPS)
        ]
    elif small is ROADS:
        found = [
            f"import os\n\ndef join(*parts):\n    return {mark}.join({part} for part in parts)\n"
            for mark, part in product(JOINS, PARTS)
        ]
    else:
        found = [
            f"class Table:\n    def __init__(self, rows):\n        self.rows = {rows}\n\n"
            f"    def highest(self):\n        return {highest}\n"
            for rows, highest in product(ROWS, HIGHEST)
        ]
    found += [mutant.source.decode() for mutant in mutations(small.gold.encode())]
    return list(dict.fromkeys(found))
