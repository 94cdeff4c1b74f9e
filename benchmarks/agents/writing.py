"""The transformers engine with another policy: it writes turns in place of what it would sample.

Its tokens are scored by the model that is served, so a learner trains on them as on any policy's.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch

from munro.envs.types import KeptTokens
from munro.rewards.errors import PolicyError
from munro.rollout.config import RolloutConfig
from munro.rollout.engine import Completion, Request
from munro.rollout.transformers_engine import TransformersEngine


class Writing(TransformersEngine):
    """Writes what `turn_of` says."""

    def __init__(self, model: str, config: RolloutConfig, *, seed: int, max_context: int) -> None:
        from transformers import AutoTokenizer

        super().__init__(model, config, seed=seed, max_context=max_context)
        if config.top_p < 1 or config.temperature != 1:
            raise PolicyError("a policy that writes draws nothing: set rollout.top_p = 1.0")
        self.tokenizer = AutoTokenizer.from_pretrained(model)

    @abstractmethod
    def turn_of(self, request: Request) -> str:
        """What is written; the request's key ends in (problem, attempt, try, turn)."""

    def _generate(self, requests: Sequence[Request]) -> list[Completion]:
        return [self._written(request) for request in requests]

    @torch.inference_mode()
    def _written(self, request: Request) -> Completion:
        ids = self.tokenizer.encode(self.turn_of(request), add_special_tokens=False)
        ids = [*ids, request.stop_token_ids[-1]][: request.max_tokens]
        whole = torch.tensor([[*request.prompt_ids, *ids]], device=self._model.device)
        logits_TV = self._model(whole, logits_to_keep=len(ids) + 1).logits[0, :-1]
        logp_TV = logits_TV.float().log_softmax(-1)
        logp_T = logp_TV.gather(-1, whole[0, -len(ids) :, None]).squeeze(-1)
        return Completion(
            token_ids=np.array(ids, np.int32),
            logp=logp_T.cpu().numpy(),
            kept=KeptTokens.nothing(len(ids)),
            versions=np.full(len(ids), self._version, np.int32),
            stopped=ids[-1] == request.stop_token_ids[-1],
        )
