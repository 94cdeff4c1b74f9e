"""The same in other words, by a model of texts on loopback that knows synonyms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from munro.questions.build import build
from munro.questions.clean.meaning import at_address, without_paraphrases
from munro.questions.config import EmbedderConfig, ParaphraseConfig, QuestionsConfig
from munro.questions.errors import QuestionsError
from tests.questions.questions import question_of
from tests.rewards.judges import Reply, ScriptedJudge, fails

SENSES = (
    *(("car", "automobile"), ("fast", "quick", "speed"), ("how", "what"), ("apple", "pear")),
    *(("weigh", "mass", "heavy"), ("lamp", "light"), ("cost", "price")),
)


def vector(text: str) -> list[float]:
    return [0.01 + sum(text.lower().count(word) for word in sense) for sense in SENSES]


def vectors(texts: list[str]) -> Reply:
    data = [
        {"object": "embedding", "index": at, "embedding": vector(text)}
        for at, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    body = {"object": "list", "data": data[::-1], "model": "m", "usage": usage}
    return Reply(raw=json.dumps(body).encode())


def embedder(server: ScriptedJudge, **more: Any) -> EmbedderConfig:
    return EmbedderConfig(model="m", base_url=server.url, retries=0, **more)


def test_other_words_are_found_and_other_numbers_stay() -> None:
    some = [
        question_of("a", "How fast is the car after 5 s?", "10"),
        question_of("b", "What is the automobile's quickness after 5 s?", "10"),
        question_of("c", "How fast is the car after 6 s?", "12"),
        question_of("d", "How fast is the car after 5 s, say?", "11"),
        question_of("e", "How heavy is the apple?", "1"),
        question_of("f", "What is the price of a lamp?", "3"),
    ]
    tested = [("held.jsonl:1", "What is the mass of the pear?")]
    with ScriptedJudge(lambda body: vectors(body["input"])) as server:
        embed = at_address(embedder(server, batch=4))
        outcome = without_paraphrases(some, tested, ParaphraseConfig(), embed)
        assert [len(body["input"]) for body in server.requests] == [4, 2, 1]
    assert [one.id for one in outcome.kept] == ["a", "c", "d", "f"]
    assert [(one.id, one.reason, one.evidence.split(",")[0]) for one in outcome.dropped] == [
        ("b", "a paraphrase", "a"),
        ("e", "an evaluation set has it in other words", "held.jsonl:1"),
    ]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (fails(500, "boom"), "gives no vectors .*boom"),
        (fails(404, "no such model"), "gives no vectors .*no such model"),
        (Reply(raw=b"<html>"), "gives no vectors"),
        (Reply(raw=b'{"data": []}'), "0 vectors for 2 texts"),
        (
            Reply(
                raw=b'{"data": [{"index": 0, "embedding": [0]}, {"index": 1, "embedding": [1]}]}'
            ),
            "vectors that are none",
        ),
        (
            Reply(
                raw=b'{"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1, 2]}]}'
            ),
            "vectors that are none",
        ),
    ],
    ids=str,
)
def test_vectors_that_are_none_are_one_sentence(answer: Reply, why: str) -> None:
    with ScriptedJudge([answer]) as server, pytest.raises(QuestionsError, match=why) as told:
        at_address(embedder(server))(["a", "b"])
    assert "\n" not in str(told.value)


def test_a_build_asks_only_where_an_embedder_is_named(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(
        "Exercises\n1. What is 20 + 3, the car?\n2. What is 20 + 3, the automobile?\n"
        "Answers\n1. 23\n2. 23\n"
    )
    (tmp_path / "held.jsonl").write_text('{"question": "How much is an apple?"}\n')
    whole: dict[str, Any] = {
        "out": str(tmp_path / "out"),
        "sources": [{"name": "s", "paths": [str(tmp_path / "book.txt")]}],
        "contamination": {"files": [str(tmp_path / "held.jsonl")]},
        "duplicates": {"threshold": 1.0},
        "pair": {"evidence": "waived"},
        "workers": 1,
    }
    assert build(QuestionsConfig.model_validate(whole))[-1].kept == 2
    with ScriptedJudge(lambda body: vectors(body["input"])) as server:
        whole["models"] = {"embedder": embedder(server).model_dump()}
        levels = build(QuestionsConfig.model_validate(whole))
        assert len(server.requests) == 2
    assert levels[-1].kept == 1
    assert levels[-2].dropped == {"a paraphrase": 1}
