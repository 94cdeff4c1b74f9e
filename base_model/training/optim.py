"""AdamW with a weight decay of its own for attention, embeddings, routers and norms.

MAI-Thinking-1 report, section 2.6.2.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import AdamW

from munro.base_model.config import OptimizerConfig

ATTENTION = ("attn", "attention")
ROUTER = (".router.weight", ".gate.weight")


def parameter_groups(model: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    """Every trainable parameter once, in groups named in the key "name".

    Vectors (norm gains, biases) are "norm" wherever they stand; then the weights of
    `nn.Embedding` modules and of the output head are "embedding", those inside a module with
    "attn" or "attention" in its name are "attention", those that choose experts are "router"; the
    rest is "other", the experts among them. Empty groups are left out.
    """
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    head = getattr(model, "get_output_embeddings", lambda: None)()
    if head is not None:
        embeddings.add(id(head.weight))

    decays = {
        "other": config.weight_decay,
        "attention": config.attention_weight_decay,
        "embedding": config.embedding_weight_decay,
        "router": config.router_weight_decay,
        "norm": config.norm_weight_decay,
    }
    members: dict[str, list[nn.Parameter]] = {name: [] for name in decays}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.ndim < 2:
            members["norm"].append(parameter)
        elif id(parameter) in embeddings:
            members["embedding"].append(parameter)
        elif any(word in name for word in ATTENTION):
            members["attention"].append(parameter)
        elif name.endswith(ROUTER):
            members["router"].append(parameter)
        else:
            members["other"].append(parameter)
    return [
        {"name": name, "params": members[name], "weight_decay": decay}
        for name, decay in decays.items()
        if members[name]
    ]


def adamw(model: nn.Module, config: OptimizerConfig) -> AdamW:
    """AdamW over `parameter_groups`, at the peak rate; the schedule scales it step by step.

    One kernel for all on a GPU; on a CPU, where that rounds otherwise, torch's own choice.
    """
    return AdamW(
        parameter_groups(model, config),
        lr=config.learning_rate,
        betas=config.betas,
        eps=config.eps,
        fused=True if next(model.parameters()).is_cuda else None,
    )


def set_learning_rate(optimizer: AdamW, learning_rate: float) -> None:
    """The same rate for every group."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
