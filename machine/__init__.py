"""How a person drives it: command line, config tree, run folders, console, report."""

import sys
from pathlib import Path

if __name__ != "munro.machine":
    if Path(sys.argv[0]).name == "munro":  # the command of an install from before that name
        _root = Path(__file__).resolve().parents[1]
        sys.exit(
            "munro: this command was installed from an older checkout. Install it again: "
            f"`make setup` in {_root}, or {sys.executable} -m pip install -e {_root}"
        )
    raise ImportError(f"Munro's {__name__!r} is imported as munro.{__name__}", name=__name__)
