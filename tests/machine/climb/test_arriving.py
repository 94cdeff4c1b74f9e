"""What a dry run says of weights that come by plan. vLLM's answer is given: it takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from munro.machine.climb import arriving as module
from munro.machine.climb.arriving import arriving
from munro.machine.config import RunConfig
from munro.machine.loading import BadConfig
from munro.rewards.errors import PolicyError
from munro.rollout.vllm.foresee import Foreseen

HERE = Path("model")


def config(engine: str = "vllm", **sync: object) -> RunConfig:
    given = {"name": "a", "num_steps": 1, "env": {"path": "digits"}}
    return RunConfig(**given, rollout={"engine": engine}, sync={"transport": "group", **sync})


def foreseen(monkeypatch: pytest.MonkeyPatch, whole: dict[str, int]) -> None:
    found = Foreseen(whole=whole, num_bytes=1_000_000_000, untouched=())
    monkeypatch.setattr(module, "foresee", lambda _: found)


def test_it_lists_what_must_come_whole_largest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    foreseen(monkeypatch, {"a.small": 1_000_000, "a.large": 3_000_000})
    said, *names = arriving(config(), HERE, "group")
    assert "its own part of 1,000.0 MB, and whole (4.0 MB)" in said
    assert names == ["          a.large: 3.0 MB", "          a.small: 1.0 MB"]
    foreseen(monkeypatch, {})
    (said,) = arriving(config(), HERE, "group")
    assert said.endswith("nothing must come whole")


def test_it_refuses_more_than_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    foreseen(monkeypatch, {"a": 60_000_000})
    with pytest.raises(BadConfig, match=r"60\.0 MB of .* sync\.max_whole = 0\.05 allows 5%"):
        arriving(config(), HERE, "group")
    assert arriving(config(max_whole=0.06), HERE, "group")


def test_what_vllm_refuses_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> Foreseen:
        raise PolicyError("vLLM cannot take weights for model by plan: no such architecture")

    monkeypatch.setattr(module, "foresee", refuse)
    with pytest.raises(BadConfig, match="no such architecture"):
        arriving(config(), HERE, "group")


@pytest.mark.parametrize(
    ("engine", "kind", "folder"),
    [("vllm", "file", HERE), ("transformers", "group", HERE), ("vllm", "group", None)],
)
def test_nothing_is_asked_of_vllm_where_it_has_no_say(
    monkeypatch: pytest.MonkeyPatch, engine: str, kind: str, folder: Path | None
) -> None:
    monkeypatch.setattr(module, "foresee", lambda _: pytest.fail("asked"))
    said = arriving(config(engine), folder, kind)
    assert said == (
        []
        if folder
        else ["weights   by plan; what must come whole is known once the model is here"]
    )
