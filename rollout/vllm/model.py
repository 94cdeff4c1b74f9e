"""Our base model in vLLM: the same mathematics on vLLM's paged cache and parallel layers.

vLLM finds it by the entry point `vllm.general_plugins`, in the engine process too. Parameters have
the checkpoint's own names. Norms, rotary angles and routing are the training model's own code, so
that both sides choose the same experts but for rounding; every pass leaves its choice in `routed`.

On the CPU experts are computed by the training model's dispatch, on GPUs by vLLM's fused kernel.
With tensor parallelism every expert is cut along its inner width. The GPU side has not been run.

Shape letters: N = tokens of an engine step, D = model width, W = width the experts work in,
I = an expert's inner width, M = mixture layers, E = experts, K = experts a token goes to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import AutoConfig
from vllm.config import CacheConfig, VllmConfig
from vllm.distributed import (
    get_tensor_model_parallel_rank,
    get_tensor_model_parallel_world_size,
    tensor_model_parallel_all_reduce,
)
from vllm.model_executor.layers.attention import Attention
from vllm.model_executor.layers.linear import (
    MergedColumnParallelLinear,
    QKVParallelLinear,
    ReplicatedLinear,
    RowParallelLinear,
)
from vllm.model_executor.layers.logits_processor import LogitsProcessor
from vllm.model_executor.layers.vocab_parallel_embedding import (
    ParallelLMHead,
    VocabParallelEmbedding,
)
from vllm.model_executor.model_loader.weight_utils import default_weight_loader
from vllm.model_executor.models import ModelRegistry
from vllm.model_executor.models.interfaces import SupportsLoRA
from vllm.model_executor.utils import set_weight_attrs

from munro.base_model.model.configuration import MunroConfig
from munro.base_model.model.layers import RMSNorm, gated, rotated, rotations
from munro.base_model.model.moe import Router
from munro.kernels.experts import experts
from munro.rollout.vllm.last_words import listen

ARCHITECTURE = "MunroForCausalLM"


def register() -> None:
    """Make the architecture known to vLLM and to transformers; the entry point's function.

    vLLM calls it in each of its processes, so this is also where their failures are listened to.
    """
    listen()
    AutoConfig.register(MunroConfig.model_type, MunroConfig, exist_ok=True)
    if ARCHITECTURE not in ModelRegistry.get_supported_archs():
        ModelRegistry.register_model(ARCHITECTURE, MunroForCausalLM)


class LocalOrGlobalAttention(nn.Module):
    """One layer's attention on vLLM's cache."""

    def __init__(self, config: MunroConfig, layer: int, cache: CacheConfig, prefix: str) -> None:
        super().__init__()
        assert config.layer_types is not None
        self.is_local = config.layer_types[layer] == "sliding_attention"
        self.head_dim = config.head_dim
        ranks = get_tensor_model_parallel_world_size()
        self.num_heads = config.num_attention_heads // ranks
        self.num_kv_heads = max(1, config.num_key_value_heads // ranks)
        self.qkv_proj = QKVParallelLinear(
            config.hidden_size,
            self.head_dim,
            config.num_attention_heads,
            config.num_key_value_heads,
            bias=False,
            prefix=f"{prefix}.qkv_proj",
        )
        self.o_proj = RowParallelLinear(
            config.num_attention_heads * self.head_dim,
            config.hidden_size,
            bias=False,
            prefix=f"{prefix}.o_proj",
        )
        self.q_norm = RMSNorm(self.head_dim, config.rms_norm_eps)
        self.k_norm = RMSNorm(self.head_dim, config.rms_norm_eps)
        self.attn = Attention(
            self.num_heads,
            self.head_dim,
            self.head_dim**-0.5,
            num_kv_heads=self.num_kv_heads,
            cache_config=cache,
            per_layer_sliding_window=config.sliding_window if self.is_local else None,
            prefix=f"{prefix}.attn",
        )

    def forward(self, x_ND: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """[N, D]"""
        N = len(x_ND)
        heads = self.qkv_proj(x_ND)[0].view(N, -1, self.head_dim)
        query, key, value = heads.split(
            (self.num_heads, self.num_kv_heads, self.num_kv_heads), dim=1
        )
        query, key = self.q_norm(query), self.k_norm(key)
        if self.is_local:
            query, key = rotated(query, *rotation), rotated(key, *rotation)
        query, key = query.to(value.dtype), key.to(value.dtype)
        mixed = self.attn(query.reshape(N, -1), key.reshape(N, -1), value.reshape(N, -1))
        out: Tensor = self.o_proj(mixed)[0]
        return out


class DenseFeedForward(nn.Module):
    """SwiGLU, cut along its inner width."""

    def __init__(self, width: int, inner: int, prefix: str) -> None:
        super().__init__()
        self.gate_up_proj = MergedColumnParallelLinear(
            width, [inner, inner], bias=False, prefix=f"{prefix}.gate_up_proj"
        )
        self.down_proj = RowParallelLinear(inner, width, bias=False, prefix=f"{prefix}.down_proj")

    def forward(self, x_ND: Tensor) -> Tensor:
        """[N, D]"""
        out: Tensor = self.down_proj(gated(self.gate_up_proj(x_ND)[0]))[0]
        return out


class ParallelExperts(nn.Module):
    """All experts on every rank, each rank with its part of their inner width."""

    def __init__(self, config: MunroConfig) -> None:
        super().__init__()
        width = config.latent_size or config.hidden_size
        self.ranks = get_tensor_model_parallel_world_size()
        inner = config.moe_intermediate_size // self.ranks
        self.gate_up_proj = nn.Parameter(torch.empty(config.num_experts, 2 * inner, width))
        self.down_proj = nn.Parameter(torch.empty(config.num_experts, width, inner))
        set_weight_attrs(self.gate_up_proj, {"weight_loader": load_gate_up})
        set_weight_attrs(self.down_proj, {"weight_loader": load_down})

    def forward(self, x_NW: Tensor, experts_NK: Tensor, gates_NK: Tensor) -> Tensor:
        """[N, W], the gated sum of each token's experts."""
        if x_NW.is_cuda:
            from vllm.model_executor.layers.fused_moe import fused_experts

            out = fused_experts(
                x_NW, self.gate_up_proj, self.down_proj, gates_NK, experts_NK.to(torch.int32)
            )
        else:
            out = experts(x_NW, self.gate_up_proj, self.down_proj, experts_NK, gates_NK)
        if self.ranks > 1:
            out = tensor_model_parallel_all_reduce(out)
        summed: Tensor = out
        return summed


def load_gate_up(param: Tensor, loaded_weight: Tensor) -> None:
    """This rank's rows of gate and of up. vLLM's reload calls loaders by these argument names."""
    # copied half by half, not concatenated: who watches a loader follows boxes, not new tensors
    for own, whole in zip(param.data.chunk(2, dim=1), loaded_weight.chunk(2, dim=1), strict=True):
        own.copy_(_mine(whole, 1))


def load_down(param: Tensor, loaded_weight: Tensor) -> None:
    """This rank's columns."""
    default_weight_loader(param, _mine(loaded_weight, 2))


def _mine(tensor: Tensor, dim: int) -> Tensor:
    ranks = get_tensor_model_parallel_world_size()
    rank: int = get_tensor_model_parallel_rank()
    return tensor.chunk(ranks, dim=dim)[rank]


class LatentMixture(nn.Module):
    """Router, latent projections, experts; tells vLLM's recorder what was chosen.

    `layer_id` and `capture_fn` are what vLLM's recorder of routed experts looks for on GPUs.
    """

    def __init__(self, config: MunroConfig, index: int, prefix: str) -> None:
        super().__init__()
        self.layer_id = index
        self.capture_fn: Callable[[Tensor], None] | None = None
        width, latent = config.hidden_size, config.latent_size
        self.router = Router(config)
        self.latent_down, self.latent_up = (
            ReplicatedLinear(*sizes, bias=False, prefix=f"{prefix}.{name}") if latent else None
            for name, sizes in (("latent_down", (width, latent)), ("latent_up", (latent, width)))
        )
        self.experts = ParallelExperts(config)
        shared = config.num_shared_experts * config.moe_intermediate_size
        self.shared_experts = (
            DenseFeedForward(width, shared, f"{prefix}.shared_experts") if shared else None
        )

    def forward(self, x_ND: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """[N, D], and the experts chosen, [N, K]."""
        choice = self.router(x_ND)
        if self.capture_fn is not None:
            self.capture_fn(choice.experts)
        x_ND = x_ND.to(dtype)
        x_NW = x_ND if self.latent_down is None else self.latent_down(x_ND)[0]
        out = self.experts(x_NW, choice.experts, choice.gates)
        if self.latent_up is not None:
            out = self.latent_up(out.to(dtype))[0]
        if self.shared_experts is not None:
            out = out + self.shared_experts(x_ND)
        return out, choice.experts


class Layer(nn.Module):
    """Attention and feed-forward, each between two norms; the residual stream is float32."""

    def __init__(
        self, config: MunroConfig, layer: int, cache: CacheConfig, dtype: torch.dtype, prefix: str
    ) -> None:
        super().__init__()
        assert config.mlp_layer_types is not None
        width, eps = config.hidden_size, config.rms_norm_eps
        self.dtype = dtype
        self.attention_in_norm = RMSNorm(width, eps)
        self.self_attn = LocalOrGlobalAttention(config, layer, cache, f"{prefix}.self_attn")
        self.attention_out_norm = RMSNorm(width, eps)
        self.mlp_in_norm = RMSNorm(width, eps)
        self.is_mixture = config.mlp_layer_types[layer] == "sparse"
        index = config.mlp_layer_types[:layer].count("sparse")
        self.mlp: nn.Module = (
            LatentMixture(config, index, f"{prefix}.mlp")
            if self.is_mixture
            else DenseFeedForward(width, config.intermediate_size, f"{prefix}.mlp")
        )
        self.mlp_out_norm = RMSNorm(width, eps)

    def forward(
        self, x_ND: Tensor, rotation: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        """The residual stream after this layer, and the experts chosen."""
        mixed = self.self_attn(self.attention_in_norm(x_ND).to(self.dtype), rotation)
        x_ND = x_ND + self.attention_out_norm(mixed)
        inner_ND = self.mlp_in_norm(x_ND)
        if not self.is_mixture:
            return x_ND + self.mlp_out_norm(self.mlp(inner_ND.to(self.dtype))), None
        out_ND, experts_NK = self.mlp(inner_ND, self.dtype)
        return x_ND + self.mlp_out_norm(out_ND), experts_NK


class Decoder(nn.Module):
    """The model without its head."""

    def __init__(self, vllm_config: VllmConfig, prefix: str) -> None:
        super().__init__()
        self.config: MunroConfig = vllm_config.model_config.hf_config
        self.embed_tokens = VocabParallelEmbedding(
            self.config.vocab_size,
            self.config.hidden_size,
            params_dtype=torch.float32,
            prefix=f"{prefix}.embed_tokens",
        )
        self.layers = nn.ModuleList(
            Layer(
                self.config,
                layer,
                vllm_config.cache_config,
                vllm_config.model_config.dtype,
                f"{prefix}.layers.{layer}",
            )
            for layer in range(self.config.num_hidden_layers)
        )
        self.norm = RMSNorm(self.config.hidden_size, self.config.rms_norm_eps)

    def forward(self, x_ND: Tensor, positions_N: Tensor) -> tuple[Tensor, Tensor | None]:
        """The last hidden state, and the experts chosen, [N, M, K]."""
        angles = rotations(positions_N[None], self.config.head_dim, self.config.rope_theta)
        cos, sin = (table[0, 0, :, None] for table in angles)
        chosen: list[Tensor] = []
        for layer in self.layers:
            x_ND, experts_NK = layer(x_ND, (cos, sin))
            if experts_NK is not None:
                chosen.append(experts_NK)
        return self.norm(x_ND), torch.stack(chosen, dim=1) if chosen else None


class MunroForCausalLM(nn.Module, SupportsLoRA):  # type: ignore[misc]
    """What vLLM serves. Adapters go on layers under the checkpoint's own names."""

    # one matrix in the checkpoint too, so with one adapter and not one for each part
    packed_modules_mapping: ClassVar[dict[str, list[str]]] = {
        "qkv_proj": ["qkv_proj"],
        "gate_up_proj": ["gate_up_proj"],
    }

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        super().__init__()
        config: MunroConfig = vllm_config.model_config.hf_config
        self.config = config
        self.model = Decoder(vllm_config, f"{prefix}.model" if prefix else "model")
        head = ParallelLMHead(
            config.vocab_size, config.hidden_size, params_dtype=torch.float32, prefix="lm_head"
        )
        self.lm_head = head.tie_weights(self.model.embed_tokens)
        self.logits_processor = LogitsProcessor(config.vocab_size)
        self.routed: Tensor | None = None
        """[N, M, K] experts of the last pass."""

    def embed_input_ids(self, input_ids: Tensor) -> Tensor:
        """[N, D] float32"""
        embedded: Tensor = self.model.embed_tokens(input_ids)
        return embedded

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: Any = None,  # noqa: ARG002 - of pipelines, which this is not
        inputs_embeds: Tensor | None = None,
    ) -> Tensor:
        """[N, D]"""
        if inputs_embeds is None:
            assert input_ids is not None
            inputs_embeds = self.embed_input_ids(input_ids)
        hidden_ND: Tensor
        hidden_ND, self.routed = self.model(inputs_embeds.float(), positions)
        return hidden_ND

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        """[N, V] float32"""
        logits: Tensor | None = self.logits_processor(self.lm_head, hidden_states)
        return logits

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """Read a checkpoint's tensors, the tied head once."""
        own = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        loaded: set[str] = set()
        for name, tensor in weights:
            if name.startswith("lm_head."):
                continue
            if name not in own:
                raise ValueError(f"the checkpoint has {name}, which this model has not")
            load = getattr(own[name], "weight_loader", default_weight_loader)
            load(own[name], tensor)
            loaded.add(name)
        return loaded
