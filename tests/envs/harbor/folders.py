"""Folders in the forms of Harbor and terminal-bench, made for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

TOML = """schema_version = "1.4"

[metadata]

[verifier]
timeout_sec = 60.0

[agent]
timeout_sec = 900.0

[environment]
build_timeout_sec = 60.0
"""
TEST = """#!/bin/bash
if grep -qx 42 /app/answer.txt; then
  echo 1 > /logs/verifier/reward.txt
else
  echo 0 > /logs/verifier/reward.txt
fi
"""
SIMPLE = {
    "task.toml": TOML,
    "instruction.md": "Write 42 into /app/answer.txt.\n",
    "environment/Dockerfile": "FROM ubuntu:24.04\n\n# nothing else\n\nWORKDIR /app\n",
    "tests/test.sh": TEST,
    "solution/solve.sh": "#!/bin/bash\necho 42 > /app/answer.txt\n",
}
LEDGER = {
    "task.toml": TOML.replace("[environment]", '[environment]\nmemory = "1G"\nenv = {UNIT="eur"}'),
    "instruction.md": "Sum the ledger in /srv/ledger by account into /srv/ledger/sums.json.\n",
    "environment/Dockerfile": """# syntax=docker/dockerfile:1
ARG VERSION=3.11
FROM python:${VERSION}-slim AS base
LABEL kind="ledger"
ENV LEDGER=/srv/ledger \\
    # in the middle of an instruction
    CURRENCY="euro cent"
WORKDIR $LEDGER
COPY data/*.csv rows/
COPY --chmod=755 tool.sh /opt/tools/tool
ENV PATH=/opt/tools:${PATH:-/usr/local/bin:/usr/bin:/bin}
RUN mkdir /data && tool > /data/said \\
 && python3 - <<'END'
import os, pathlib
rows = pathlib.Path("rows")
rows.joinpath("count").write_text(str(len(list(rows.glob("*.csv")))))
pathlib.Path("/etc/ledger.conf").write_text(os.environ["CURRENCY"])
END
RUN ["sh", "-c", "echo $0 > exec-form", "word"]
COPY <<EOF notes.txt
none
EOF
CMD ["bash"]
""",
    "environment/data/a.csv": "ada,3\nbea,4\n",
    "environment/data/b.csv": "ada,39\n",
    "environment/tool.sh": "#!/bin/sh\necho $CURRENCY\n",
    "tests/test.sh": "#!/bin/bash\npython3 /tests/test_sums.py || echo failed >&2\n",
    "tests/test_sums.py": """import json, pathlib
here = pathlib.Path("/srv/ledger")
sums = json.loads(here.joinpath("sums.json").read_text())
told = {"reward": float(sums == {"ada": 42, "bea": 4}), "accounts": len(sums)}
assert here.joinpath("rows/count").read_text() == "2"
assert pathlib.Path("/data/said").read_text() == "euro cent\\n"
assert here.joinpath("exec-form").read_text() == "word\\n"
assert here.joinpath("notes.txt").read_text() == "none\\n"
assert pathlib.Path.cwd() == here
pathlib.Path("/logs/verifier/reward.json").write_text(json.dumps(told))
""",
    "solution/solve.sh": "#!/bin/bash\nset -e\npython3 /solution/sums.py\n",
    "solution/sums.py": """import collections, csv, json, os, pathlib
assert os.environ["UNIT"] == "eur"
sums = collections.Counter()
for path in pathlib.Path("rows").glob("*.csv"):
    for name, value in csv.reader(path.open()):
        sums[name] += int(value)
pathlib.Path("sums.json").write_text(json.dumps(sums))
""",
}
"""A terminal task of our own: files of the image, a tool, variables, a test in Python."""
TERMINAL = {
    "task.yaml": "instruction: |-\n  Write Hello into hello.txt.\ndifficulty: easy\n"
    "parser_name: pytest\nmax_agent_timeout_sec: 360.0\nmax_test_timeout_sec: 60.0\n",
    "Dockerfile": "FROM ghcr.io/laude-institute/t-bench/ubuntu-24-04:20250624\nWORKDIR /app\n",
    "docker-compose.yaml": """services:
  client:
    build:
      dockerfile: Dockerfile
    image: ${T_BENCH_TASK_DOCKER_CLIENT_IMAGE_NAME}
    command: [ "sh", "-c", "sleep infinity" ]
    environment:
      - TEST_DIR=${T_BENCH_TEST_DIR}
      - GREETING=Hello
""",
    "run-tests.sh": """#!/bin/bash
word=FAILED
[ "$(cat hello.txt)" = "$GREETING" ] && [ -f $TEST_DIR/seen.py ] && word=PASSED
echo "=========================== short test summary info ============================"
echo "$word tests/test_outputs.py::test_hello"
[ $word = PASSED ]
""",
    "tests/seen.py": "",
    "solution.sh": "#!/bin/bash\necho Hello > hello.txt\n",
}


def written(folder: Path, files: Mapping[str, str | None]) -> Path:
    """A folder with those files."""
    for name, text in files.items():
        if text is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    return folder


def but(files: Mapping[str, str], name: str, text: str | None) -> dict[str, str | None]:
    """The same files with one of them otherwise, or without it."""
    return {**files, name: text}
