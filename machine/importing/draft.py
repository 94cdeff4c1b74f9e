"""A recipe in the making: what another trainer's settings became, line by line.

num_generations = 8 -> rollout.group_size = 8
top_k = 50 -> no counterpart: sampling is cut by rollout.top_p alone
decided: clip.widening_max = 0, for TRL's clip does not move
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from munro.machine.other_trainers import counterpart


@dataclass(frozen=True, slots=True)
class Unread:
    """A value that only a run of theirs would know.

    Example:
        Unread("args.model", 12)
    """

    text: str
    """As it is written."""
    line: int = 0
    """Of their file; 0 where that is not known."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of another trainer's, dotted, with its value."""

    key: str
    value: Any
    is_said: bool = True
    """False for what their trainer takes where nothing is said."""

    @property
    def shown(self) -> str:
        """As a line tells it."""
        return f"{self.key} = {shown(self.value)}" + ("" if self.is_said else " (by default)")


@dataclass(slots=True)
class Draft:
    """What has been taken over so far."""

    trainer: str
    """Its name."""
    settings: dict[str, Setting]
    """Theirs, by key."""
    raw: dict[str, Any] = field(default_factory=dict)
    """The recipe's tree."""
    lines: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """Lines of what was not taken over."""
    wanted: dict[str, str] = field(default_factory=dict)
    """Keys of ours that a recipe cannot do without, and what theirs says there."""
    files: dict[str, str] = field(default_factory=dict)
    """Texts of files that the recipe names, by name, to write beside it."""

    def value(self, key: str, default: Any = None) -> Any:
        """What theirs is set to; `default` where it is not."""
        found = self.settings.get(key)
        return default if found is None else found.value

    def put(self, ours: str, value: Any) -> None:
        """Set a dotted key of the recipe."""
        *parents, last = ours.split(".")
        node = self.raw
        for name in parents:
            node = node.setdefault(name, {})
        node[last] = value

    def take(self, setting: Setting, ours: str, value: Any) -> None:
        """Theirs becomes ours."""
        self.put(ours, value)
        self.lines.append(f"{setting.shown} -> {ours} = {shown(value)}")

    def told(self, setting: Setting, what: str) -> None:
        """Theirs is dealt with otherwise."""
        self.lines.append(f"{setting.shown} -> {what}")

    def lack(self, setting: Setting, why: str = "") -> None:
        """Theirs has no counterpart."""
        why = why or counterpart(setting.key) or "nothing here is called so, or does what it does"
        # where we have such a key, and nothing tells which value of ours is theirs
        how = "by hand" if why.startswith("set ") else "no counterpart"
        self.missing.append(f"{setting.shown} -> {how}: {why}")

    def decide(self, ours: str, value: Any, why: str) -> None:
        """Ours is set to something that theirs does not say."""
        self.put(ours, value)
        self.lines.append(f"decided: {ours} = {shown(value)}, {why}")


Rule = Callable[[Draft, Setting], None]
"""What becomes of one setting."""


def apply(draft: Draft, rules: Mapping[str, Rule], done: frozenset[str] = frozenset()) -> None:
    """Take over one setting after another, in the order of their file.

    Args:
        draft: whose settings they are.
        rules: by their key, or by the last words of one ("optim.lr").
        done: keys that are dealt with together elsewhere.
    """
    for key, setting in draft.settings.items():
        if key in done:
            continue
        if key in rules:
            rules[key](draft, setting)
        elif setting.is_said:
            draft.lack(setting)


def same(ours: str, convert: Callable[[Any], Any] = lambda value: value) -> Rule:
    """The rule of what means the same here; what cannot be converted has no counterpart."""

    def rule(draft: Draft, setting: Setting) -> None:
        if setting.value is None:
            return
        try:
            value = convert(setting.value)
        except (TypeError, ValueError) as error:
            draft.lack(setting, f"it is no value for {ours} ({error})")
        else:
            draft.take(setting, ours, value)

    return rule


def none(why: str, *, unless: tuple[Any, ...] = (None,)) -> Rule:
    """The rule of what cannot be had; values that ask for nothing go without a word."""

    def rule(draft: Draft, setting: Setting) -> None:
        if setting.is_said and setting.value not in unless:
            draft.lack(setting, why)

    return rule


def one_of(ours: str, known: Mapping[Any, Any], why: str) -> Rule:
    """The rule of a choice whose values have names of ours."""

    def rule(draft: Draft, setting: Setting) -> None:
        if setting.value in known:
            draft.take(setting, ours, known[setting.value])
        elif setting.value is not None:
            draft.lack(setting, why)

    return rule


def begin(trainer: str, said: list[Setting], defaults: Mapping[str, Any]) -> Draft:
    """A draft of what is said, and of what their trainer takes where nothing is.

    What only a run would know is listed, and counts as not said.
    """
    settings = {name: Setting(name, value, is_said=False) for name, value in defaults.items()}
    read = [one for one in said if not isinstance(one.value, Unread)]
    draft = Draft(trainer, settings | {one.key: one for one in read})
    for one in said:
        if isinstance(one.value, Unread):
            draft.lack(one, "its value is known only when it runs: set what it stands for")
    return draft


def shown(value: Any) -> str:
    """A value as TOML would write it, on one line of readable length."""
    if isinstance(value, Unread):
        return value.text if len(value.text) <= 60 else f"{value.text[:57]}..."
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
