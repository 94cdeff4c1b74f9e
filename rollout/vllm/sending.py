"""Weights from the learner's GPU to the servers' by vLLM's own engines: the sending side.

    learner ──► publish ──► vLLM's trainer engine, in a thread ──► what the servers must be told
    driver  ──► servers ──► vLLM's worker engine takes the weights in ──► settle ──► thread ends

vLLM's trainer engine wants to lead the servers through the update itself. Here the driver does, as
for every other way of transfer, with its deadlines and its proof; so the engine is given a client
that notes what it would have told them.

None of this has run on a GPU; the seam has, on a CPU, with an engine of the tests' own.
"""

from __future__ import annotations

import base64
import pickle
import queue
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from munro.rollout.engine import WeightSource

if TYPE_CHECKING:
    from torch import Tensor

PULSE_S = 0.2
"""How often a wait for the thread looks whether it is still there."""


class NotSent(Exception):
    """vLLM's engine could not send the weights; says why."""

    is_sentence = True


class VllmTransfer:
    """Implements `munro.rollout.weights.WeightTransfer`; lives in the learner's first process.

    The published weights are gathered before anything is sent: in the servers' precision they are
    2 bytes a parameter on the first rank's GPU until `settle`.
    """

    through_host = False

    def __init__(
        self,
        kind: Literal["ipc", "nccl"],
        *,
        num_workers: int = 1,
        introduce: Callable[[], Any] | None = None,
    ) -> None:
        """
        Args:
            kind: through handles of the same GPU's memory, or by a broadcast.
            num_workers: GPUs of all servers together.
            introduce: makes vLLM's `TrainerInitInfo`; by default that of `kind`.
        """
        self._kind, self._num_workers, self._introduce = kind, num_workers, introduce
        self._engine: Any = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._meeting: dict[str, Any] | None = None
        self._address = "127.0.0.1"

    def at(self, host: str) -> VllmTransfer:
        """See `munro.rollout.weights.WeightTransfer.at`."""
        self._address = host
        return self

    def publish(self, named_tensors: Iterable[tuple[str, Tensor]], version: int) -> WeightSource:
        """Begin to send; the servers are then to be told what this returns.

        Raises:
            NotSent: vLLM's engine failed.
        """
        self.settle()
        tensors = [(name, tensor.detach().contiguous()) for name, tensor in named_tensors]
        if self._engine is None:
            self._client, self._source = _Notes(), _source()
        self._source.tensors = tensors
        self._client.done.clear()
        self._thread = threading.Thread(target=self._send, daemon=True, name="send_weights")
        self._thread.start()
        if self._meeting is None:
            self._meeting = self._noted(self._client.meetings)
        # a broadcast begins once the servers are there, and they must know what will come
        broadcast = self._kind == "nccl"
        update = described(tensors) if broadcast else self._noted(self._client.updates)
        return WeightSource(
            path="", version=version, meeting=self._meeting, update=portable(update)
        )

    def settle(self) -> None:
        """All servers have the weights: end the thread, and let go of them.

        Raises:
            NotSent: it had failed.
        """
        if self._thread is None:
            return
        self._client.done.set()
        self._thread.join()
        self._source.tensors = []
        failure, self._failure = self._failure, None
        if failure is not None:
            raise NotSent(f"vLLM's {self._kind} engine could not send: {failure}") from failure

    def close(self) -> None:
        """End the connections."""
        self.settle()
        if self._engine is not None:
            self._engine.shutdown()

    def _send(self) -> None:
        from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory

        try:
            if self._engine is None:
                info = (self._introduce or self._introduction)()
                self._engine = WeightTransferTrainerFactory.trainer_init(
                    info, client=self._client, source=self._source
                )
            self._engine.send_weights()
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody can hear it
            self._failure = error

    def _introduction(self) -> Any:
        if self._kind == "ipc":
            from vllm.distributed.weight_transfer.ipc_engine import IPCTrainerInitInfo

            return IPCTrainerInitInfo(rank=0)
        from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

        with socket.socket() as probe:
            probe.bind(("", 0))
            port = int(probe.getsockname()[1])
        return NCCLTrainerInitInfo(self._address, port, 1 + self._num_workers, packed=False, rank=0)

    def _noted(self, notes: queue.Queue[dict[str, Any]]) -> dict[str, Any]:
        while True:
            try:
                return notes.get(timeout=PULSE_S)
            except queue.Empty:
                if self._thread is None or not self._thread.is_alive():
                    self.settle()
                    raise NotSent(f"vLLM's {self._kind} engine sent nothing") from None


class _Notes:
    """vLLM's `VLLMWeightSyncClient`: notes what servers would be told, and waits for the driver."""

    def __init__(self) -> None:
        self.meetings: queue.Queue[dict[str, Any]] = queue.Queue()
        self.updates: queue.Queue[dict[str, Any]] = queue.Queue()
        self.done = threading.Event()

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None:
        """How the servers find this process."""
        self.meetings.put(init_info)

    def start_weight_update(self) -> None:
        """The driver starts it."""

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """What comes."""
        self.updates.put(update_info)

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """Keep the weights until the servers have them."""
        del weight_version
        self.done.wait()


def _source() -> Any:
    """vLLM's `WeightSource` of whatever was published last."""
    from vllm.distributed.weight_transfer.base import ParamMeta
    from vllm.distributed.weight_transfer.base import WeightSource as Base

    class Published(Base):  # type: ignore[misc]
        tensors: list[tuple[str, Tensor]]

        def metadata(self) -> list[ParamMeta]:
            return [ParamMeta(name, t.dtype, tuple(t.shape)) for name, t in self.tensors]

        def __iter__(self) -> Iterator[tuple[str, Tensor]]:
            return iter(self.tensors)

    return Published()


def described(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Any]:
    """What the receivers of a broadcast must know of it, in its order."""
    tensors = list(tensors)
    return {
        "names": [name for name, _ in tensors],
        "dtype_names": [str(tensor.dtype).removeprefix("torch.") for _, tensor in tensors],
        "shapes": [list(tensor.shape) for _, tensor in tensors],
    }


def portable(update: dict[str, Any]) -> dict[str, Any]:
    """An update with its memory handles in the form in which vLLM takes them between processes."""
    handles = update.get("ipc_handles")
    if handles is None:
        return {name: value for name, value in update.items() if value is not None}
    pickled = base64.b64encode(pickle.dumps(handles)).decode()
    rest = {k: v for k, v in update.items() if k != "ipc_handles" and v is not None}
    return {**rest, "ipc_handles_pickled": pickled}
