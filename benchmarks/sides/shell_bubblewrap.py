"""Episodes of mini-swe-agent's bubblewrap environment; runs in an interpreter of its own.

    python shell_bubblewrap.py REPOSITORY

Each line of input is a JSON list of commands: an environment is made, the repository is copied into
its folder, the commands are run and the environment is cleaned up. Each line of output is a JSON
list of what they printed.
"""

from __future__ import annotations

import json
import subprocess
import sys

from minisweagent.environments.extra.bubblewrap import BubblewrapEnvironment


def main() -> None:
    """Play until the input ends."""
    for line in sys.stdin:
        environment = BubblewrapEnvironment()
        subprocess.run(["cp", "-a", f"{sys.argv[1]}/.", str(environment.working_dir)], check=True)
        printed = [environment.execute({"command": each})["output"] for each in json.loads(line)]
        environment.cleanup()
        print(json.dumps(printed), flush=True)


if __name__ == "__main__":
    main()
