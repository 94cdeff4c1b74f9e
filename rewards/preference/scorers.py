"""Where the preference model's one token is decoded: transformers here, or an endpoint elsewhere.

This is a model that scores, so torch is loaded, but not before a scorer is made.

Shape suffixes: N = prompts, T = tokens of the longest prompt of a batch, V = vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from munro.rewards.errors import GraderError
from munro.rewards.preference.format import NotAPreferenceModel
from munro.rewards.serving.architectures import register_architectures

PROMPTS_PER_REQUEST = 64
LEAST_MASS = 0.5
"""What the five score tokens must have of the probability that an endpoint lists."""


class LocalScorer:
    """A transformers causal LM in this process.

    Args:
        model: in evaluation mode, wherever it is to run.
        score_ids: ids of the tokens "1" to "5".
        max_batch_tokens: prompt tokens, padding included, of one forward pass.
    """

    def __init__(
        self, model: Any, score_ids: Sequence[int], *, max_batch_tokens: int = 16384
    ) -> None:
        self._model = model
        self._score_ids = list(score_ids)
        self._max_batch_tokens = max_batch_tokens

    def probabilities(self, prompts: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """See `munro.rewards.preference.model.Scorer`."""
        found = np.zeros((len(prompts), len(self._score_ids)))
        for rows in batches([len(prompt) for prompt in prompts], self._max_batch_tokens):
            found[rows] = self._forward([prompts[row] for row in rows])
        if not np.isfinite(found).all():
            raise GraderError("the preference model's logits are not finite")
        return found

    def _forward(self, prompts: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        import torch

        longest = max(map(len, prompts))
        token_ids_NT = torch.zeros((len(prompts), longest), dtype=torch.int64)
        attended_NT = torch.zeros((len(prompts), longest), dtype=torch.int64)
        for row, prompt in enumerate(prompts):
            # on the left, so that every row ends with its prompt
            token_ids_NT[row, longest - len(prompt) :] = torch.tensor(prompt)
            attended_NT[row, longest - len(prompt) :] = 1
        device = next(self._model.parameters()).device
        with torch.inference_mode():
            logits_NV = self._model(
                input_ids=token_ids_NT.to(device),
                attention_mask=attended_NT.to(device),
                position_ids=(attended_NT.cumsum(-1) - 1).clamp(min=0).to(device),
                use_cache=False,
                logits_to_keep=1,
            ).logits[:, -1]
            scores = logits_NV[:, self._score_ids].double().softmax(-1)
        probabilities: NDArray[np.float64] = scores.cpu().numpy()
        return probabilities


def batches(lengths: Sequence[int], most_tokens: int) -> Iterator[list[int]]:
    """Indices, longest first, in batches of at most `most_tokens` once padded (or of one)."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > most_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


class EndpointScorer:
    """An OpenAI-compatible completions endpoint that takes prompts as token ids.

    vLLM is asked for the log-probabilities of the five score tokens by name. Another server lists
    the five likeliest tokens, and a score token that is not among them counts as 0. What is listed
    is normalised over the score tokens.

    Args:
        base_url: of the API.
        model: as the endpoint calls it.
        score_ids: ids of the tokens "1" to "5".
        api_key: sent along.
        timeout_s: of one request; failed ones are tried again by the client.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        score_ids: Sequence[int],
        *,
        api_key: str = "none",
        timeout_s: float = 120.0,
    ) -> None:
        from openai import OpenAI

        self._client = OpenAI(base_url=base_url, api_key=api_key, timeout=timeout_s, max_retries=4)
        self._url, self._model = base_url, model
        self._score_ids = list(score_ids)

    def probabilities(self, prompts: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """See `munro.rewards.preference.model.Scorer`."""
        starts = range(0, len(prompts), PROMPTS_PER_REQUEST)
        rows = [
            listed_probabilities(listed, self._score_ids)
            for start in starts
            for listed in self._request(prompts[start : start + PROMPTS_PER_REQUEST])
        ]
        return np.array(rows, np.float64).reshape(len(prompts), len(self._score_ids))

    def _request(self, prompts: Sequence[Sequence[int]]) -> list[Mapping[str, float]]:
        from openai import OpenAIError

        try:
            answer = self._client.completions.create(
                model=self._model,
                prompt=[list(prompt) for prompt in prompts],
                max_tokens=1,
                temperature=0.0,
                logprobs=len(self._score_ids),
                # beyond the API, and understood by vLLM: which tokens to list, by id
                extra_body={
                    "logprob_token_ids": self._score_ids,
                    "return_tokens_as_token_ids": True,
                },
            )
        except OpenAIError as error:
            raise GraderError(f"preference model at {self._url}: {error}") from error
        choices = sorted(answer.choices, key=lambda choice: choice.index)
        found = [choice.logprobs and choice.logprobs.top_logprobs for choice in choices]
        if len(found) != len(prompts) or not all(found):
            raise GraderError(
                f"preference model at {self._url}: the answer lacks log-probabilities"
            )
        return [listed[0] for listed in found if listed]


def listed_probabilities(listed: Mapping[str, float], score_ids: Sequence[int]) -> list[float]:
    """Probabilities of the score tokens among an endpoint's likeliest, normalised to sum to 1.

    Args:
        listed: log-probability by "token_id:17", or by the token's text: "1" to "5".
        score_ids: ids of the tokens "1" to "5".

    Raises:
        GraderError: score tokens are not what the model is about to write.
    """
    masses = [
        math.exp(listed.get(f"token_id:{token}", listed.get(str(score), -math.inf)))
        for score, token in enumerate(score_ids, 1)
    ]
    total = sum(masses)
    if not total >= LEAST_MASS:
        raise GraderError(
            f"the five scores have only {total:.2f} of the probability: the endpoint serves no "
            "preference model, or one with another tokenizer"
        )
    return [mass / total for mass in masses]


def load_tokenizer(folder: Path) -> Any:
    """The checkpoint's tokenizer.

    Raises:
        NotAPreferenceModel: there is none.
    """
    from transformers import AutoTokenizer

    require_checkpoint(folder)
    register_architectures()
    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise NotAPreferenceModel(f"{folder}: no tokenizer can be loaded ({error})") from error


def load_model(folder: Path, device: str) -> Any:
    """The checkpoint's model, ready to score: bfloat16 on a GPU, float32 on the CPU.

    Raises:
        NotAPreferenceModel: it cannot be loaded.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    require_checkpoint(folder)
    register_architectures()
    where = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.float32 if where == "cpu" else torch.bfloat16
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, output_loading_info=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise NotAPreferenceModel(f"{folder}: no model can be loaded ({error})") from error
    finally:
        if bars:
            logging.enable_progress_bar()
    if missing := sorted(found["missing_keys"]):
        raise NotAPreferenceModel(
            f"{folder} lacks {', '.join(missing[:3])}, which transformers would draw at random"
        )
    return model.to(where).eval()


def load_config(folder: Path) -> Any:
    """The checkpoint's config, without its weights.

    Raises:
        NotAPreferenceModel: it cannot be loaded.
    """
    from transformers import AutoConfig

    require_checkpoint(folder)
    register_architectures()
    try:
        return AutoConfig.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise NotAPreferenceModel(f"{folder}: no config can be loaded ({error})") from error


def require_checkpoint(folder: Path) -> None:
    """Refuse a folder without a config, before transformers looks for it on a hub.

    Raises:
        NotAPreferenceModel: there is no such checkpoint.
    """
    if not (folder / "config.json").is_file() and (folder / "adapter_config.json").is_file():
        raise NotAPreferenceModel(
            f"{folder} holds an adapter: munro merge {folder} OUT makes a whole model of it and "
            "its base"
        )
    if not (folder / "config.json").is_file():
        raise NotAPreferenceModel(f"{folder}: there is no checkpoint (config.json missing)")
