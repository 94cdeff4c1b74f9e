"""A file's weights into a running vLLM, in its engine process, and the repacking they need.

file in shared memory ──► load_weights, layer by layer ──► packed matrices made again
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from safetensors import safe_open
from torch import Tensor, nn
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.model_executor.layers.attention import is_deferred_attention_layer
from vllm.model_executor.layers.linear import LinearBase
from vllm.model_executor.layers.vocab_parallel_embedding import VocabParallelEmbedding
from vllm.model_executor.model_loader.reload import (
    finalize_layerwise_reload,
    initialize_layerwise_reload,
)
from vllm.model_executor.model_loader.reload.layerwise import get_layerwise_info

BACKEND = "munro_file"


@dataclass
class FileInit(WeightTransferInitInfo):  # type: ignore[misc]
    """Nothing to agree on beforehand."""


@dataclass
class FileUpdate(WeightTransferUpdateInfo):  # type: ignore[misc]
    """Sent with every update."""

    path: str
    """Safetensors file under the checkpoint's own (Hugging Face) names."""
    repack: bool = True
    """False leaves out `repack_embeddings`: only the proof that the sync is checked does so."""


class FileTransfer(WeightTransferEngine[FileInit, FileUpdate]):  # type: ignore[misc]
    """Read a checkpoint-format file, memory-mapped, into the model that is serving."""

    init_info_cls = FileInit
    update_info_cls = FileUpdate
    repack = True

    def init_transfer_engine(self, init_info: FileInit) -> None:
        """Nothing to do: a file needs no connection."""

    def start_weight_update(self) -> None:
        """Give the layers their loadable parameters back (packing has emptied them)."""
        if self.device.type == "cpu":
            forget_packed_experts(self.model)
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict[str, str]) -> None:
        """Load one file. The base class would synchronise an accelerator, which a CPU has not."""
        self.receive_weights(self.parse_update_info(update_info))

    def receive_weights(self, update_info: FileUpdate) -> None:
        """Hand every tensor of the file to the model's own loader."""
        self.repack = update_info.repack
        self.model.load_weights(tensors(update_info.path))

    def finish_weight_update(self) -> None:
        """Put the new values where the kernels read them.

        Raises:
            RuntimeError: the file lacks weights of some layer.
        """
        missing = incomplete(self.model)
        if missing:
            raise RuntimeError(f"the file lacks weights of {', '.join(missing[:3])}")
        finalize_layerwise_reload(self.model, self.model_config)
        if self.repack and self.device.type == "cpu":
            repack_embeddings(self.model)

    def shutdown(self) -> None:
        """Nothing is held open between updates."""


def tensors(path: str) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor of everything in a safetensors file."""
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - the handle is not iterable itself
            yield name, file.get_tensor(name)


def repack_embeddings(model: nn.Module) -> None:
    """Pack the vocabulary matrices again.

    On the CPU an output layer multiplies by a packed copy of its matrix. vLLM makes that copy at
    start-up only: a tied layer is skipped by its reload, and would go on with the first weights.
    """
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

    tied = getattr(getattr(model, "config", None), "tie_word_embeddings", False)
    head = getattr(model, "lm_head", None)
    embedding = getattr(getattr(model, "model", None), "embed_tokens", None)
    if tied and head is not None and embedding is not None:
        head.weight = embedding.weight
    for module in model.modules():
        if isinstance(module, VocabParallelEmbedding) and hasattr(module, "cpu_linear"):
            dispatch_cpu_unquantized_gemm(module, remove_weight=False)


def forget_packed_experts(model: nn.Module) -> None:
    """Have the experts' matrices packed anew.

    vLLM packs them only when it builds the layer's kernel, once: after a reload the kernel would
    read plain matrices as packed ones. Without a kernel it builds one, and packs.
    """
    for module in model.modules():
        method = getattr(module, "quant_method", None)
        if method is not None and getattr(method, "moe_kernel", None) is not None:
            method.moe_kernel = None


def incomplete(model: nn.Module) -> list[str]:
    """Layers that a reload has given nothing, or half a matrix; vLLM would serve them so.

    Embeddings may lack the rows that pad the vocabulary, so of them only the empty ones count.
    """
    tied = getattr(getattr(model, "config", None), "tie_word_embeddings", False)
    names: list[str] = []
    for name, layer in model.named_modules():
        info = get_layerwise_info(layer)
        waits = info.can_load() and any(True for _ in layer.parameters(recurse=False))
        lacks = waits and (info.load_numel == 0 or isinstance(layer, LinearBase))
        if lacks and not is_deferred_attention_layer(layer) and not (tied and name == "lm_head"):
            names.append(name)
    return names
