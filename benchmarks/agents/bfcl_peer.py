"""The package's own checkers, as it has them: without the libraries that they do not need.

They evaluate the text of a call. The texts here are written from the package's own gold calls.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any

CHECKERS = "bfcl_eval.eval_checker"


class Peer:
    """Verdicts of bfcl-eval."""

    def __init__(self, home: str) -> None:
        """
        Args:
            home: the folder that the package lies in.
        """
        if home not in sys.path:
            sys.path.append(home)
        # a table of every provider's client, of which one flag is read
        models: Any = types.ModuleType("bfcl_eval.constants.model_config")
        models.MODEL_CONFIG_MAPPING = _Any()
        sys.modules[models.__name__] = models
        for language in ("java", "js"):
            name = f"{CHECKERS}.ast_eval.type_convertor.{language}_type_converter"
            converter: Any = types.ModuleType(name)
            setattr(converter, f"{language}_type_converter", None)
            sys.modules[name] = converter
        self._turns = importlib.import_module(f"{CHECKERS}.multi_turn_eval.multi_turn_checker")
        self._calls = importlib.import_module(f"{CHECKERS}.ast_eval.ast_checker")
        self._python = importlib.import_module("bfcl_eval.constants.enums").Language.PYTHON
        self._number = 0

    def judged(self, row: Mapping[str, Any], turns: Sequence[Sequence[Sequence[Any]]]) -> bool:
        """Whether a conversation passes, by the calls in each turn of the user."""
        self._number += 1  # it keeps the instances of a model's name for ever
        texts = [[[text_of(*made) for made in calls]] if calls else [] for calls in turns]
        with contextlib.redirect_stdout(io.StringIO()):
            found = self._turns.multi_turn_checker(
                texts, row["ground_truth"], dict(row), "", f"attempt{self._number}"
            )
        return bool(found["valid"])

    def matched(self, row: Mapping[str, Any], category: str, calls: Sequence[Any]) -> bool:
        """Whether the calls of a single turn pass."""
        made = [{name: copy.deepcopy(arguments)} for name, arguments in calls]
        found = self._calls.ast_checker(
            row["function"], made, row["ground_truth"], self._python, category, "any"
        )
        return bool(found["valid"])


class _Any(dict[str, Any]):
    def __missing__(self, key: str) -> Any:
        return types.SimpleNamespace(underscore_to_dot=True)


def text_of(name: str, arguments: Mapping[str, Any]) -> str:
    """A call as Python writes it."""
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"
