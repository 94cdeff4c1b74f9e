"""A job for a worker process that will lose its parent."""

from __future__ import annotations

import os
import time


def pid_then_wait(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()
