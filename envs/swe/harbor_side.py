"""What a task's folder holds for people who run it with Harbor: scripts, and a container's recipe.

Harbor copies `tests/` to /tests after the agent, runs `test.sh` in the working directory and reads
/logs/verifier/reward.txt. Its verifier shares the agent's container unless told otherwise, and
knows no twins: it is weaker than `munro.envs.swe.grade`.
"""

from __future__ import annotations

WORKDIR = "/app"
TEST = """#!/bin/bash
# hidden tests over the repository, then one number
mkdir -p /logs/verifier
rm -f /logs/verifier/reward.txt /logs/verifier/reward.json
cp -r /tests/files/. /app/
cd /app && python3 -P -B /tests/verify.py
"""
SOLVE = """#!/bin/bash
cd /app && patch -p1 --forward < /solution/patch.diff
"""
DOCKERFILE = """FROM python:{python}-slim
RUN apt-get update && apt-get install -y --no-install-recommends git patch \\
 && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir {requirements}
ADD repo.tar {workdir}
ENV PYTHONPATH={paths} PYTHONDONTWRITEBYTECODE=1 TZ=UTC
WORKDIR {workdir}
"""
