"""What every process of vLLM imports as its worker's extension: our ways of taking weights in.

Importing it registers our transfer engines with vLLM and ties the process's life to the one that
started it. Its class is mixed into vLLM's worker, so that the driver's side can call it.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time

from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory

from munro.rollout.vllm import transfer, weights

PARENT_PULSE_S = 0.5


class Extension:
    """Mixed into vLLM's worker; called by name, in each process of a server."""

    def munro_mend(self) -> None:
        """Let a new update begin where one has stopped half-way."""
        self._weight_update_active = False


def end_with_parent() -> None:
    """End this process when the one that started it is gone, even by kill -9.

    A thread that watches the parent, not PR_SET_PDEATHSIG: that signal would also come when only
    the parent's *thread* that started us ends.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        while os.getppid() == parent.pid:
            time.sleep(PARENT_PULSE_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end_with_parent").start()


for name, engine in (
    (weights.BACKEND, weights.FileTransfer),
    (transfer.BACKEND, transfer.PlanTransfer),
):
    if name not in WeightTransferEngineFactory._registry:
        WeightTransferEngineFactory.register_engine(name, engine)
end_with_parent()
