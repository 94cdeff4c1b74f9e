"""The optimizer that a recipe asks for, and where its moments lie between steps.

    adamw       AdamW on everything
    adamw8bit   the moments of hidden matrices in 8 bits (bitsandbytes), AdamW on the rest
    muon        hidden matrices moved by their orthogonalised momentum, AdamW on the rest

The rest is what is no matrix inside the model: embeddings, the output matrix, norms, biases.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from munro.rl.config import LearnerConfig

Make = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
Move = Callable[[Tensor, torch.device], Tensor]
"""A moment to a place: the parameter's device."""

BUCKET = 64 << 20
"""Numbers of the parameters whose moments are brought back at once when they are offloaded."""


class NoOptimizer(Exception):
    """The optimizer that was asked for cannot be used here; says why."""

    is_sentence = True


def check_optimizer(config: LearnerConfig) -> None:
    """Whether `make_optimizer` will find what it needs, without importing it.

    Raises:
        NoOptimizer: it is not installed, or does not know several ranks.
    """
    if config.optimizer == "adamw":
        return
    if config.optimizer == "adamw8bit" and importlib.util.find_spec("bitsandbytes") is None:
        raise NoOptimizer(
            'learner.optimizer = "adamw8bit" needs bitsandbytes, which is not installed: pip '
            'install bitsandbytes, or set it to "adamw" (learner.offload = true saves memory too).'
        )
    if config.ranks > 1:
        raise NoOptimizer(
            f'learner.optimizer = "{config.optimizer}" knows whole matrices only, and '
            f"learner.ranks = {config.ranks} parts them among processes. Set learner.ranks = 1, or "
            'learner.optimizer = "adamw".'
        )


def make_optimizer(
    policy: nn.Module,
    config: LearnerConfig,
    *,
    away: Move | None = None,
    back: Move | None = None,
) -> torch.optim.Optimizer:
    """The optimizer of every parameter that is trained.

    Args:
        policy: the model, on its device, sharded or not.
        config: which one, its rates, and whether its moments are put away between steps.
        away: where to with them; by default to the host's memory.
        back: and from there; by default to the parameter's device.

    Raises:
        NoOptimizer: see `check_optimizer`.
    """
    check_optimizer(config)
    parts = _parts(policy, config)
    if config.offload:
        few = [make(bucket) for make, all_ in parts for bucket in _buckets(all_)]
        return Offloaded(few, away=away or _to_host, back=back or Tensor.to)
    made = [make(parameters) for make, parameters in parts if parameters]
    return made[0] if len(made) == 1 else Together(made)


MOMENT = {"AdamW": "exp_avg", "Muon": "momentum_buffer", "AdamW8bit": "state1"}
"""By an optimizer's class, what its state of a parameter holds in any case."""


def require_same(
    model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping[str, Collection[str]]
) -> None:
    """Refuse moments that another optimizer has saved: this one would begin without any.

    Args:
        model: whose parameters `state` names.
        optimizer: of `make_optimizer`.
        state: keys of each parameter's, by its name.

    Raises:
        NoOptimizer: a parameter's moments are of another kind.
    """
    parts = optimizer.parts if isinstance(optimizer, Together) else [optimizer]
    expected = {
        id(parameter): MOMENT[type(part).__name__]
        for part in parts
        for group in part.param_groups
        for parameter in group["params"]
    }
    for name, parameter in model.named_parameters():
        moments = state.get(name)
        if moments and expected.get(id(parameter)) not in moments:
            raise NoOptimizer(
                f"the checkpoint was saved with another learner.optimizer: of {name} it holds "
                f"{', '.join(sorted(moments))}. Set it back, or begin a run from the checkpoint by "
                "--model, which takes the weights alone."
            )


class Together(torch.optim.Optimizer):
    """Several optimizers as one: their groups in order, one state for all."""

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        # the very same groups, so that a learning rate that is set here is theirs
        super().__init__([group for part in parts for group in part.param_groups], {})
        self.parts = list(parts)
        for part in parts:
            part.state = self.state

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step of each."""
        del closure
        for part in self.parts:
            part.step()


class Offloaded(Together):
    """The same, whose moments are away but for those of the part that is being stepped.

    A part is a few parameters, so that what is on the device at once is little; each parameter's
    arithmetic is its own, so that the result is the same bit for bit.
    """

    def __init__(self, parts: Sequence[torch.optim.Optimizer], *, away: Move, back: Move) -> None:
        super().__init__(parts)
        self._away, self._back = away, back

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One part after the other: its moments here, its step, its moments away."""
        del closure
        for part in self.parts:
            parameters = [p for group in part.param_groups for p in group["params"]]
            for parameter in parameters:
                self._move(parameter, self._back)
            part.step()
            for parameter in parameters:
                self._move(parameter, self._away)

    def put_away(self) -> None:
        """After a load, which leaves moments beside their parameters."""
        for parameter in list(self.state):
            self._move(parameter, self._away)

    def _move(self, parameter: Tensor, to: Move) -> None:
        state, device = self.state.get(parameter, {}), _device(parameter)
        for name, value in state.items():
            if not isinstance(value, Tensor) or not value.dim():
                continue
            if isinstance(value, DTensor):
                # its mesh is of the device, and would take a copy straight back
                value._local_tensor = to(value.to_local(), device)
            else:
                state[name] = to(value, device)


def _device(parameter: Tensor) -> torch.device:
    local = parameter.to_local() if isinstance(parameter, DTensor) else parameter
    return local.device


def _to_host(moment: Tensor, _: torch.device) -> Tensor:
    if moment.device.type == "cpu":
        return moment
    host = torch.empty(moment.shape, dtype=moment.dtype, pin_memory=True)
    return host.copy_(moment)


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Consecutive parameters of at most `BUCKET` numbers together, or one alone."""
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        if bucket and sum(p.numel() for p in [*bucket, parameter]) > BUCKET:
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket


def _parts(policy: nn.Module, config: LearnerConfig) -> list[tuple[Make, list[nn.Parameter]]]:
    trained = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    adamw: Make = partial(
        torch.optim.AdamW,
        lr=config.learning_rate,
        betas=config.betas,
        eps=config.eps,
        weight_decay=config.weight_decay,
        fused=True,
    )
    if config.optimizer == "adamw":
        return [(adamw, trained)]
    outer = _outer(policy)
    # Muon takes matrices alone; a mixture may hold its experts' as one block of three dimensions
    takes = {2} if config.optimizer == "muon" else {2, 3}
    inner = [p for p in trained if p.dim() in takes and id(p) not in outer]
    chosen = {id(parameter) for parameter in inner}
    rest = [parameter for parameter in trained if id(parameter) not in chosen]
    return [(_inner(config), inner), (adamw, rest)]


def _outer(policy: nn.Module) -> set[int]:
    """Weights that look a token up or score one, by id."""
    found = {id(m.weight) for m in policy.modules() if isinstance(m, nn.Embedding)}
    head = getattr(policy, "get_output_embeddings", lambda: None)()
    return found | ({id(head.weight)} if head is not None else set())


def _inner(config: LearnerConfig) -> Make:
    if config.optimizer == "muon":
        return partial(
            torch.optim.Muon,
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            momentum=config.betas[0],
            # steps of the size of AdamW's, so that one learning rate is right for both
            adjust_lr_fn="match_rms_adamw",
        )
    from bitsandbytes.optim import AdamW8bit

    return partial(
        AdamW8bit,
        lr=config.learning_rate,
        betas=config.betas,
        eps=config.eps,
        weight_decay=config.weight_decay,
    )
