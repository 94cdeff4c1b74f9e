"""A transformers causal LM that gives log-probabilities of chosen tokens instead of logits.

Shape letters: R = rows, L = columns of a micro-batch, T = sampled tokens, D = model width.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from munro.base_model.model.logits import multiplier_of
from munro.base_model.training.sharding import give_back
from munro.kernels import attention
from munro.kernels.attention import Ranks, RowMask, tree_mask
from munro.kernels.attention.models import layers_of
from munro.kernels.gradient import can_add, gives_rows
from munro.kernels.scale import Scale
from munro.rl.policy.device import DeviceBatch
from munro.rl.policy.logprob import Targets, sampled_logp

log = logging.getLogger(__name__)

PLAIN = Scale()
Found = TypeVar("Found")


class UnsupportedModel(ValueError):
    """The model is not built the way the learner needs it; says how."""

    is_sentence = True


class LogProbHead(nn.Module):
    """The output matrix, and its bias if it has one; given targets it answers with their log-probs.

    With `adds` a backward pass puts the matrix's gradient straight into its `grad`, where it can:
    for those who take gradients from there alone.

    Example:
        LogProbHead(model.get_output_embeddings())
    """

    def __init__(self, head: Any) -> None:
        super().__init__()
        self.weight = head.weight
        self.bias = getattr(head, "bias", None)
        self.adds = False

    def forward(
        self, hidden: Tensor, targets: Targets | None = None, *, scale: Scale = PLAIN, tile: int = 1
    ) -> Tensor:
        """Logits; with targets [T] their log-probabilities, see `sampled_logp`."""
        if targets is None:
            return F.linear(hidden, self.weight, self.bias)
        weight = self.weight
        if self.bias is not None:
            # a bias is the weight of an input that is always 1
            hidden = torch.cat([hidden, torch.ones_like(hidden[:, :1])], dim=-1)
            weight = torch.cat([weight, self.bias[:, None]], dim=-1)
        how = "add" if self.adds and can_add(weight) else "return"
        return sampled_logp(hidden, weight, targets, scale=scale, tile=tile, grad_weight=how)


class Policy(nn.Module):
    """The model being trained, from a micro-batch to log-probabilities.

    Args:
        model: any transformers causal LM whose logits are its output matrix (and a bias) applied
            to its last hidden state, then times a constant or soft-capped at most. Its head is
            replaced, its weights are not.
        tile: positions whose logits exist at once.
        prove: find out now whether the logits are made so; else whoever fills it with weights does.

    Raises:
        UnsupportedModel: the logits are made in another way.
    """

    def __init__(self, model: Any, *, tile: int, prove: bool = True) -> None:
        super().__init__()
        head = model.get_output_embeddings()
        if head is None:
            raise UnsupportedModel(
                f"{type(model).__name__} has no output matrix of its own: the learner computes "
                "log-probabilities from hidden states and such a matrix alone."
            )
        model.set_output_embeddings(LogProbHead(head))
        self.model = model
        self.tile = tile
        text = model.config.get_text_config()
        self.softcap = float(getattr(text, "final_logit_softcapping", None) or 0.0)
        self.multiplier = multiplier_of(text)
        self._takes = inspect.signature(self.base.forward).parameters.keys()
        self._kinds, self._window = layers_of(model.config)
        # what accelerate asks of the module it shards
        self.config, self._no_split_modules = model.config, model._no_split_modules
        self.base_model_prefix = "base"
        if prove:
            self.prove_head()

    @property
    def base(self) -> Any:
        """The model without its head."""
        return self.model.base_model

    def add_in_place(self) -> None:
        """Have large gradients added to what is there, for those who take them from `grad` alone.

        A gradient of a whole vocabulary would else be made, filled and added up twice at every
        micro-batch: by its output matrix, and by its input embeddings, of which it meets few.
        """
        self.get_output_embeddings().adds = True
        if gives_rows(embeddings := self.get_input_embeddings()):
            embeddings.sparse = True

    def get_input_embeddings(self) -> Any:
        """Asked by accelerate."""
        return self.model.get_input_embeddings()

    def get_output_embeddings(self) -> Any:
        """Asked by accelerate."""
        return self.model.get_output_embeddings()

    @property
    def vocabulary(self) -> int:
        """Rows of the output matrix."""
        return int(self.get_output_embeddings().weight.shape[0])

    @property
    def repeats_routing(self) -> bool:
        """Whether the model takes a recorded choice of experts."""
        return "routed_experts" in self._takes

    @property
    def takes_rows(self) -> bool:
        """Whether its attention is ours, in every layer, which knows rows of several sequences."""
        return "position_ids" in self._takes and attention.computes(self.config)

    def on_whole_weights(self, work: Callable[[], Found]) -> Found:
        """What some work on a model comes to that may be sharded; every rank must ask."""
        found: Found = self(work)
        give_back(self)
        return found

    def forward(
        self,
        micro: DeviceBatch | Callable[[], Any],
        *,
        temperature: float = 1.0,
        replay: bool = False,
    ) -> Any:
        """Log-probability of every sampled token of the micro-batch, and how experts were used.

        Args:
            micro: what to compute, where the model is; or what `on_whole_weights` is to do, for a
                sharded model gathers its weights when it is called.
            temperature: divides the logits.
            replay: have the model repeat the recorded choice of experts.

        Returns:
            [T] float32, all of them on every rank that computes some, with the gradient of its own;
            and the model's `routing` (None where it counts none).
        """
        if not isinstance(micro, DeviceBatch):
            return micro()
        hidden_RLD, routing = self._hidden(micro, replay=replay)
        hidden_TD = hidden_RLD.flatten(0, 1).index_select(0, micro.predicted_at)
        scale = Scale(temperature=temperature / self.multiplier, softcap=self.softcap)
        logp_T: Tensor = self.get_output_embeddings()(
            hidden_TD, micro.targets, scale=scale, tile=self.tile
        )
        if micro.stretch is None:
            return logp_T, routing
        context = micro.stretch.context
        if routing is not None:
            counted = micro.present[:, micro.columns].sum()
            routing.probability = context.mean(routing.probability, counted)
        whole_T = context.gathered(logp_T, micro.stretch.sizes)
        return whole_T.index_select(0, micro.stretch.place), routing

    def _hidden(self, micro: DeviceBatch, *, replay: bool) -> tuple[Tensor, Any]:
        """[R, L, D] what the output matrix is applied to, and the model's routing."""
        more: dict[str, Tensor] = {}
        if "position_ids" in self._takes:
            more["position_ids"] = micro.positions[:, micro.columns]
        if self.repeats_routing:
            more["counted"] = micro.present[:, micro.columns]
        if replay and micro.routed_experts is not None:
            more["routed_experts"] = micro.routed_experts[:, micro.columns]
        mask = self._mask(
            micro.until,
            micro.positions,
            micro.document_starts,
            micro.longest,
            ranks=micro.stretch.context if micro.stretch else None,
        )
        own = micro.token_ids[:, micro.columns]
        output = self.base(input_ids=own, attention_mask=mask, use_cache=False, **more)
        return output.last_hidden_state, getattr(output, "routing", None)

    def _mask(
        self,
        until_RL: Tensor | None,
        position_RL: Tensor,
        starts_N: Tensor | None = None,
        longest: int = 0,
        ranks: Ranks | None = None,
    ) -> RowMask | Tensor | None:
        """What tells the model's attention who sees whom; made once for all layers."""
        if not self.takes_rows:
            return None if until_RL is None else tree_mask(until_RL, self.model.dtype)
        return attention.row_mask(self.config, until_RL, position_RL, starts_N, longest, ranks)

    @torch.no_grad()
    def prove_head(self) -> None:
        """Compare the model's own logits with ours on a few tokens.

        Raises:
            UnsupportedModel: they are made in another way.
        """
        self.eval()
        device = self.get_input_embeddings().weight.device
        ids = torch.arange(4, device=device)[None] % self.get_input_embeddings().weight.shape[0]
        theirs = self.model(input_ids=ids, use_cache=False).logits.float()
        hidden = self.base(input_ids=ids, use_cache=False).last_hidden_state
        scale = Scale(temperature=1 / self.multiplier, softcap=self.softcap)
        ours = scale.apply(self.get_output_embeddings()(hidden).float())
        if (self.softcap and self.multiplier != 1) or not torch.allclose(
            ours, theirs, rtol=1e-3, atol=1e-3
        ):
            raise UnsupportedModel(
                f"{type(self.model).__name__} does more than a matrix product and a constant or a "
                "soft cap after its last hidden state, which the learner does not know."
            )

    @torch.no_grad()
    def shares_prompts(self) -> bool:
        """Whether a common prefix may be computed once.

        Asked of the config (every layer attends to all of it, or to a window in our attention or
        that of a class that `shares_prefixes`: their windows go by positions), then proven on a few
        tokens, for positions or state could be handled in ways that a config does not show. Says
        once why not.
        """
        if "position_ids" not in self._takes:
            log.warning("prompts are not shared: the model takes no positions")
            return False
        has_windows = self._kinds != {"full_attention"}
        by_positions = self.takes_rows or getattr(self.model, "shares_prefixes", False)
        if has_windows and not by_positions:
            log.warning("prompts are not shared: the model has layers without full attention")
            return False
        self.eval()
        device = self.get_input_embeddings().weight.device
        # a prefix (longer than a window), then two branches of 2
        prefix = 3 + (self._window if has_windows else 0)
        ends = torch.arange(prefix, prefix + 2)
        until = torch.tensor([[prefix + 4] * prefix + [prefix + 2] * 2 + [prefix + 4] * 2])
        positions = torch.cat([torch.arange(prefix), ends, ends]).to(device)[None]
        ids = torch.arange(1, prefix + 5, device=device)[None]
        ids = ids % self.get_input_embeddings().weight.shape[0]
        branch = [*range(prefix), prefix + 2, prefix + 3]
        tree = self.base(
            input_ids=ids,
            position_ids=positions,
            attention_mask=self._mask(until.to(device), positions),
            use_cache=False,
        ).last_hidden_state
        alone = self.base(input_ids=ids[:, branch], use_cache=False).last_hidden_state
        if not torch.allclose(tree[:, branch], alone, rtol=1e-2, atol=1e-2):
            log.warning("prompts are not shared: the model does not follow a custom mask")
            return False
        return True
