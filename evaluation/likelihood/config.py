"""A likelihood suite: which texts, how they are cut, and what is in front of them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from munro.base_model.results import Category
from munro.rewards.config import Config


class BadSuite(ValueError):
    """A suite, a text of it or a reference that cannot be used; one sentence."""

    is_sentence = True


class SetConfig(Config):
    """One set of texts."""

    name: str = Field(min_length=1)
    """As a reference names it too."""
    kind: Literal["text", "answers", "long", "retrieval"] = "text"
    """`text`: all of every text, in windows. `answers`: the answer to a question, nothing else.
    `long`: the end of a text, at ever longer contexts. `retrieval`: the second half of a document,
    ever further from its first."""
    category: Category | None = None
    """Which of the five it counts towards; unset, it is told and counts towards none."""
    files: str
    """Glob, relative to the suite: `.jsonl` with a `text` a line (`question` and `answer` for
    `answers`), anything else a text a file."""
    max_bytes: int = Field(0, ge=0)
    """Texts are read until so many are there; 0 takes all."""
    window_bytes: int = Field(2048, ge=16)
    """Longest piece that is predicted in one pass; of `long` the end that is predicted."""
    context_bytes: int = Field(512, ge=0)
    """Of what comes before a piece, how much is shown to the model; it is not scored there."""
    contexts: tuple[int, ...] = (0, 256, 2048)
    """Of `long`: bytes before the end. Of `retrieval`: bytes between the halves."""
    document_bytes: int = Field(2048, ge=32)
    """Of `retrieval`: both halves together."""
    template: Literal["", "chat", "r1_zero", "plain"] = ""
    """Of `answers`: how the question is asked; empty shows its text as it is."""

    @model_validator(mode="after")
    def _contexts_are_sizes(self) -> Self:
        if min(self.contexts, default=-1) < 0 or len({*self.contexts}) < len(self.contexts):
            raise ValueError(f"contexts = {list(self.contexts)}: give sizes in bytes, each once.")
        if self.template and self.kind != "answers":
            raise ValueError(f"template = {self.template!r} goes with kind = 'answers'.")
        return self


class LikelihoodConfig(Config):
    """A suite."""

    sets: tuple[SetConfig, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [one.name for one in self.sets]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two sets are named {name!r}: figures go by their names.")
        return self


def read_suite(file: Path) -> LikelihoodConfig:
    """A suite from TOML.

    Raises:
        BadSuite: it cannot be read, or a key is wrong; one sentence.
    """
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
        return LikelihoodConfig.model_validate(raw)
    except OSError as error:
        raise BadSuite(f"cannot read the suite {file}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSuite(f"{file} is no TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the suite"
        said = str(first["msg"]).removeprefix("Value error, ")
        raise BadSuite(f"{file}: {place}: {said}") from error
