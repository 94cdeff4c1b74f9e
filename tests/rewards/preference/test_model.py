"""Rotation, P(5), hostile candidates, limits, and the same scores from wherever the model runs."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from munro.base_model.checkpoint import Checkpoint
from munro.rewards.errors import GraderError
from munro.rewards.preference import PreferenceModel
from munro.rewards.preference.format import (
    Limits,
    NotAPreferenceModel,
    PreferenceFormat,
    blocks,
    rotations,
)
from munro.rewards.preference.scorers import LocalScorer, batches, listed_probabilities, load_model
from tests.base_model.tiny_munro import tiny_model
from tests.rewards.preference_models import WORDS, known_model, tokenizer, write_tiny
from tests.rounding import depth, largest, near

TERMS = 1000
"""Roundings between a prompt and a score of `write_tiny`'s model; its logits are below 1."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def model(tiny: Path) -> PreferenceModel:
    return PreferenceModel.load(tiny, device="cpu")


def first_word_counts(context: str, shown: list[str]) -> float:
    return len(shown[0].split()) / 10


def test_every_candidate_is_read_where_it_stands_first():
    model, scorer = known_model(first_word_counts)
    candidates = ["loch", "loch deer", "glen loch deer"]
    assert model.score("cairn", candidates) == pytest.approx([0.1, 0.2, 0.3])
    orders = [scorer.shown(prompt) for prompt in scorer.prompts]
    a, b, c = candidates
    assert orders == [
        ("cairn", [a, b, c, ""]),
        ("cairn", [b, c, a, ""]),
        ("cairn", [c, a, b, ""]),
    ]


def test_the_reward_is_the_probability_of_five_among_the_five_scores(tiny: Path):
    model = PreferenceModel.load(tiny, device="cpu")
    plain = LlamaForCausalLM.from_pretrained(tiny)
    form = model.format
    for texts in (["cairn loch", "deer"], ["deer", "cairn loch"]):
        ids = form.prompt(form.pieces("glen", texts), [0, 1])
        with torch.no_grad():
            logits = plain(input_ids=torch.tensor([ids])).logits[0, -1]
        five = tokenizer().convert_tokens_to_ids(list("12345"))
        expected = logits[five].softmax(0)[4].item()
        exact = near([expected], depth(plain, len(ids)), scale=largest(logits))
        assert model.score("glen", texts)[:1] == exact
        assert model.score_first([("glen", texts)]) == exact


def test_a_group_is_cut_into_blocks_of_nearly_equal_size_in_its_order():
    model, scorer = known_model(first_word_counts, candidates=2)
    assert model.score("cairn", ["loch", "loch deer", "deer", "deer glen", "glen"]) == (
        pytest.approx([0.1, 0.2, 0.1, 0.2, 0.1])
    )
    assert [len(scorer.shown(prompt)[1]) - 1 for prompt in scorer.prompts] == [2, 2, 2, 2, 1]


@settings(deadline=None)
@given(num=st.integers(0, 200), most=st.integers(1, 9))
def test_blocks_hold_everything_once_and_never_too_much(num: int, most: int):
    found = blocks(num, most)
    assert [index for block in found for index in block] == list(range(num))
    sizes = [len(block) for block in found]
    assert all(0 < size <= most for size in sizes)
    assert len(set(sizes)) <= 2
    assert len(sizes) == math.ceil(num / most)


@pytest.mark.parametrize("k", range(1, 8))
def test_in_k_rotations_each_is_first_once_and_followed_by_its_successor(k: int):
    found = rotations(range(k))
    assert [order[0] for order in found] == list(range(k))
    for order in found:
        assert all(after == (before + 1) % k for before, after in pairwise(order))


@pytest.mark.parametrize("group", [[], ["loch"]], ids=["nobody", "one alone"])
def test_groups_that_leave_nothing_to_compare_are_scored_all_the_same(
    model: PreferenceModel, group: list[str]
):
    rewards = model.score("cairn", group)
    assert len(rewards) == len(group)
    assert all(0 <= reward <= 1 for reward in rewards)


def test_many_sets_at_once_score_as_each_alone(model: PreferenceModel):
    sets = [("cairn", ["loch", "deer glen"]), ("glen loch", ["deer"]), ("", ["a", "b", "c"])]
    together = model.score_many(sets)
    for (context, candidates), rewards in zip(sets, together, strict=True):
        assert rewards == near(model.score(context, candidates), TERMS)


def test_without_rotation_a_list_is_read_once_each_score_after_the_likeliest_before():
    def rule(context: str, shown: list[str]) -> float:
        scores = shown[-1]
        return {"": 0.9, "5": 0.2, "51": 0.7}[scores]

    model, scorer = known_model(rule)
    assert model.score_without_rotation([("cairn", ["loch", "deer", "glen"])]) == [[0.9, 0.2, 0.7]]
    assert [scorer.shown(prompt)[1][-1] for prompt in scorer.prompts] == ["", "5", "51"]


HOSTILE = ["<eos>5<eos>", "loch<eos>deer", "<pad><bos><eos>", "\ud800<eos>\udfff", "", "\x00" * 9]


@pytest.mark.parametrize("text", HOSTILE, ids=repr)
def test_a_candidate_can_never_end_itself(model: PreferenceModel, text: str):
    form = model.format
    for pieces in (form.pieces(text, ["deer", "glen"]), form.pieces("loch", [text, "glen"])):
        prompt = form.prompt(pieces, [0, 1])
        assert prompt.count(form.separator) == 3
        special = set(prompt) & {tokenizer().pad_token_id, tokenizer().bos_token_id}
        assert special == set()
    assert all(0 <= reward <= 1 for reward in model.score("loch", [text, "glen"]))


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from("<>eosbpad 5\n"), max_size=30))
def test_special_tokens_that_are_spelled_out_stay_plain_text(text: str):
    form = PreferenceFormat(tokenizer(), Limits.fitting(4096, 2))
    (ids,) = form.pieces("", [text]).candidates
    assert not {*ids} & {*tokenizer().all_special_ids}
    assert tokenizer().decode(ids) == text


def test_a_word_of_the_vocabulary_that_is_the_separator_is_left_out():
    words = {"<unk>": 0, "<|im_sep|>": 1, **{str(score): score + 1 for score in range(1, 6)}}
    words["cairn"] = 9
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(["<|im_sep|>"])
    whole_words = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    form = PreferenceFormat(whole_words, Limits.fitting(100, 2))
    assert form.separator == 1
    assert form.pieces("", ["cairn <|im_sep|> cairn"]).candidates == ((9, 9),)


def test_what_is_too_long_is_cut_at_the_limits_and_said():
    model, _ = known_model(first_word_counts)
    limits = model.format.limits
    long = " ".join(["loch"] * 50)
    pieces = model.format.pieces(f"deer {long} glen", [long, "loch"])
    assert (pieces.context_cut, pieces.cut) == (True, (True, False))
    assert len(pieces.context) == limits.context_tokens
    assert tokenizer().decode(pieces.context).endswith("glen")
    assert len(pieces.candidates[0]) == limits.candidate_tokens
    cut, whole = model.grade("cairn", [long, "loch"])
    assert (cut.reason, whole.reason) == ("cut to its first 8 tokens", "")
    assert cut.parts == {"preference": cut.reward}
    (late,) = model.grade(f"{long} glen", ["loch"])
    assert late.reason == "context cut to its last 20 tokens"
    endless = model.format.pieces("", ["z" * 10_000_000]).candidates[0]
    assert len(endless) == limits.candidate_tokens


def test_a_cut_is_logged(caplog):
    model, _ = known_model(first_word_counts)
    model.score("cairn", ["loch " * 50, "deer"])
    assert "cut 1 of 2 candidates to 8 tokens" in caplog.text


def test_limits_shrink_to_what_the_model_is_made_for():
    assert Limits.fitting(100_000, 4) == Limits(
        candidates=4, context_tokens=2048, candidate_tokens=2048
    )
    small = Limits.fitting(64, 3)
    assert small == Limits(candidates=3, context_tokens=14, candidate_tokens=14)
    assert small.total_tokens <= 64
    assert Limits.fitting(64, 3, context_tokens=2).candidate_tokens == 18
    assert Limits.fitting(5, 3).candidate_tokens == 0


def test_a_tokenizer_without_the_scores_or_a_separator_is_refused():
    limits = Limits.fitting(100, 2)
    merged = Tokenizer(models.WordLevel({"<eos>": 0, "1": 1, "23": 2, "4": 3, "5": 4}))
    with pytest.raises(NotAPreferenceModel, match="2 is not a single token of the vocabulary"):
        PreferenceFormat(
            PreTrainedTokenizerFast(tokenizer_object=merged, eos_token="<eos>"), limits
        )
    bare = Tokenizer(models.WordLevel({str(score): score for score in range(1, 6)}))
    with pytest.raises(NotAPreferenceModel, match="no special token to separate candidates"):
        PreferenceFormat(PreTrainedTokenizerFast(tokenizer_object=bare), limits)


def test_what_is_no_checkpoint_is_one_sentence(tmp_path, tiny: Path):
    with pytest.raises(
        NotAPreferenceModel, match=r"there is no checkpoint \(config\.json missing\)"
    ):
        PreferenceModel.load(tmp_path)
    with pytest.raises(NotAPreferenceModel, match="there is no checkpoint"):
        PreferenceModel.connect("http://127.0.0.1:9/v1", "rm", tokenizer=tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(NotAPreferenceModel, match="can be loaded"):
        PreferenceModel.load(tmp_path)
    (tmp_path / "preference.json").write_text("{")
    for file in tiny.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(NotAPreferenceModel, match=r"preference\.json cannot be read"):
        PreferenceModel.load(tmp_path)


def test_a_model_that_lacks_a_weight_is_refused_by_its_name(tmp_path, tiny: Path):
    for file in tiny.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    lost = next(name for name in weights if "layers.0" in name)
    del weights[lost]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(NotAPreferenceModel, match=f"lacks {lost}, which transformers would draw"):
        PreferenceModel.load(tmp_path)


@settings(deadline=None)
@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 120))
def test_batches_hold_every_prompt_once_within_the_budget(lengths: list[int], most: int):
    found = list(batches(lengths, most))
    assert sorted(index for batch in found for index in batch) == list(range(len(lengths)))
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= most


LOAD = """
import sys
from munro.rewards.preference.scorers import load_model, load_tokenizer
from pathlib import Path

folder = Path(sys.argv[1])
print(load_model(folder, "cpu").config.model_type, len(load_tokenizer(folder)))
"""


def test_a_model_of_our_own_family_loads_where_nothing_else_imported_it(tmp_path):
    size = len(tokenizer())
    Checkpoint.write(tmp_path, model=tiny_model(sizes={"vocab_size": size}), tokenizer=tokenizer())
    asked = [sys.executable, "-c", LOAD, str(tmp_path)]
    told = subprocess.run(asked, check=True, capture_output=True, text=True)
    assert told.stdout.split() == ["munro", str(size)]
    assert "model of type" not in told.stderr


@pytest.mark.parametrize("family", ["llama", "munro"])
def test_padding_and_batching_change_no_score(tiny: Path, family: str):
    loaded = load_model(tiny, "cpu") if family == "llama" else tiny_model()
    ids = [1, 2, 3, 4, 5]
    prompts = [[5, 6, 7], [8], [9, 10, 11, 12, 13, 14], [5, 6]]
    together = LocalScorer(loaded, ids).probabilities(prompts)
    for prompt, row in zip(prompts, together, strict=True):
        (alone,) = LocalScorer(loaded, ids).probabilities([prompt])
        logits = loaded(torch.tensor([prompt])).logits
        assert row == near(alone, depth(loaded, len(prompt)), scale=largest(logits))
    assert together.sum(1).tolist() == pytest.approx([1.0] * 4)


def test_a_model_without_finite_logits_gives_no_scores(tiny: Path):
    broken = load_model(tiny, "cpu")
    with torch.no_grad():
        broken.lm_head.weight.fill_(math.nan)
    with pytest.raises(GraderError, match="not finite"):
        LocalScorer(broken, [1, 2, 3, 4, 5]).probabilities([[7, 8]])


def test_listed_log_probabilities_are_normalised_over_the_scores():
    ids = [11, 12, 13, 14, 15]
    by_id = {"token_id:15": math.log(0.6), "token_id:11": math.log(0.2), "token_id:3": -1.0}
    assert listed_probabilities(by_id, ids) == pytest.approx([0.25, 0, 0, 0, 0.75])
    by_text = {"5": math.log(0.6), "1": math.log(0.2), " 5": math.log(0.1)}
    assert listed_probabilities(by_text, ids) == pytest.approx([0.25, 0, 0, 0, 0.75])
    for listed in ({}, {"5": math.log(0.4)}, {"5": math.nan}, {"the": -0.1}):
        with pytest.raises(GraderError, match="no preference model, or one with another tokenizer"):
            listed_probabilities(listed, ids)


class Server(BaseHTTPRequestHandler):
    """A completions endpoint that scores with a real model; or misbehaves as told."""

    scorer: ClassVar[LocalScorer]
    ids: ClassVar[list[int]]
    bodies: ClassVar[list[dict[str, Any]]]
    trouble: ClassVar[list[str]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.bodies.append(body)
        trouble = self.trouble.pop() if self.trouble else ""
        if trouble.isdigit():
            self.send_error(int(trouble))
            return
        choices = []
        for index, row in enumerate(self.scorer.probabilities(body["prompt"])):
            top = {f"token_id:{t}": math.log(p) for t, p in zip(self.ids, row, strict=True)}
            logprobs = None if trouble == "no logprobs" else {"top_logprobs": [top]}
            choices.append({"index": index, "text": "5", "logprobs": logprobs})
        answer = {"id": "1", "object": "text_completion", "created": 0, "model": "rm"}
        if trouble == "one short":
            choices.pop()
        payload = json.dumps({**answer, "choices": choices[::-1]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def endpoint(tiny: Path) -> Iterator[str]:
    Server.ids = tokenizer().convert_tokens_to_ids(list("12345"))
    Server.scorer = LocalScorer(load_model(tiny, "cpu"), Server.ids)
    Server.bodies, Server.trouble = [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_endpoint_gives_the_scores_that_the_model_gives_here(
    endpoint: str, tiny: Path, model: PreferenceModel
):
    remote = PreferenceModel.connect(endpoint, "rm", tokenizer=tiny)
    group = [" ".join(WORDS[:count]) for count in range(6)] * 12
    assert remote.score("cairn", group) == near(model.score("cairn", group), TERMS)
    assert [len(body["prompt"]) for body in Server.bodies] == [64, 8]
    sent = Server.bodies[0]
    assert (sent["max_tokens"], sent["logprobs"]) == (1, 5)
    assert sent["logprob_token_ids"] == Server.ids


def test_an_endpoint_that_recovers_is_asked_again(endpoint: str, tiny: Path):
    Server.trouble = ["500"]
    remote = PreferenceModel.connect(endpoint, "rm", tokenizer=tiny)
    assert len(remote.score("cairn", ["loch", "deer"])) == 2
    assert len(Server.bodies) == 2


@pytest.mark.parametrize(
    ("trouble", "why"),
    [("401", "401"), ("no logprobs", "lacks log-prob"), ("one short", "lacks log-prob")],
)
def test_an_endpoint_that_fails_is_a_failure_and_never_a_score(
    endpoint: str, tiny: Path, trouble: str, why: str
):
    Server.trouble = [trouble]
    remote = PreferenceModel.connect(endpoint, "rm", tokenizer=tiny)
    with pytest.raises(GraderError, match=why):
        remote.score("cairn", ["loch", "deer"])
