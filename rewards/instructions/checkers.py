"""What an instruction is: a name, arguments, and a check that any text can be put to.

A family registers plain functions with `instruction`; the function's keyword arguments are the
instruction's, its type hints say what they may be. Checks see text that a model wrote: they take
time linear in its length, and parse nothing but JSON.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

Check = Callable[..., bool]
Relation = Literal["at least", "less than", "exactly", "at most"]
"""IFEval knows the first two."""


def _positive(number: int) -> int:
    if number < 1:
        raise ValueError("must be at least 1.")
    return number


Positive = Annotated[int, _positive]

MOST_CHARACTERS = 1_000_000
"""A longer response follows nothing."""
MOST_DEPTH = 8
"""Of all / any / not in each other."""
COMBINED = ("all", "any", "not")
REQUIRED = inspect.Parameter.empty

REGISTRY: dict[str, tuple[Check, str]] = {}
"""Published name to the check and the sentence that asks for it."""


def instruction(name: str, says: str) -> Callable[[Check], Check]:
    """Register a check under its published name.

    Args:
        name: "family:name".
        says: the instruction as a sentence, with {argument} where one goes.
    """

    def register(check: Check) -> Check:
        REGISTRY[name] = (check, says)
        return check

    return register


@dataclass(frozen=True, slots=True)
class Checker:
    """One instruction with its arguments, or several combined.

    Example:
        checker({"id": "keywords:existence", "kwargs": {"keywords": ["moss"]}}).follows("Wet moss.")
    """

    name: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    of: tuple[Checker, ...] = ()
    """The combined ones, where `name` is "all", "any" or "not"."""

    def follows(self, response: str, *, loose: bool = False) -> bool:
        """Whether the response follows it.

        Args:
            response: any text; an empty one follows nothing.
            loose: forgive a first or last line too much, and asterisks, as IFEval's second mode.
        """
        if len(response) > MOST_CHARACTERS:
            return False
        return any(text.strip() and self.holds(text) for text in variants(response, loose))

    def holds(self, text: str) -> bool:
        """The bare check."""
        if self.name == "all":
            return all(each.holds(text) for each in self.of)
        if self.name == "any":
            return any(each.holds(text) for each in self.of)
        if self.name == "not":
            return not self.of[0].holds(text)
        return REGISTRY[self.name][0](text, **self.kwargs)

    def sentence(self) -> str:
        """The instruction in words, for a prompt."""
        if self.of:
            said = [each.sentence().rstrip(".") for each in self.of]
            if self.name == "not":
                return f"Do not do this: {said[0]}."
            return (
                f"Follow {'all' if self.name == 'all' else 'at least one'} of: {'; '.join(said)}."
            )
        shown = {key: _shown(value) for key, value in self.kwargs.items()}
        return REGISTRY[self.name][1].format(**shown)


def variants(response: str, loose: bool) -> list[str]:
    """The texts of which one must follow: the response, or IFEval's eight forgiving forms of it."""
    if not loose:
        return [response]
    lines = response.split("\n")
    cut = ["\n".join(each).strip() for each in (lines[1:], lines[:-1], lines[1:-1])]
    forms = [response, *cut]
    return list(dict.fromkeys(forms + [form.replace("*", "") for form in forms]))


def checker(spec: Mapping[str, Any], depth: int = 0) -> Checker:
    """The checker that plain data mean.

    Args:
        spec: {"id": name, "kwargs": {...}}, {"all": [spec, ...]}, {"any": [...]} or {"not": spec}.
        depth: of nesting so far.

    Raises:
        ValueError: one sentence that names the instruction and what is wrong, with the nearest
            valid name.
    """
    if not isinstance(spec, Mapping):
        raise ValueError(f"instruction {spec!r:.80}: give a table with an id, or all, any or not.")
    if depth > MOST_DEPTH:
        raise ValueError(f"instructions are nested more than {MOST_DEPTH} deep.")
    kinds = [key for key in COMBINED if key in spec]
    if kinds:
        return _combined(spec, kinds, depth)
    for key in spec:
        if key not in ("id", "kwargs"):
            raise ValueError(f"instruction: unknown key {key!r}. {_nearest(key, ['id', 'kwargs'])}")
    name = spec.get("id")
    if name not in REGISTRY:
        raise ValueError(f"there is no instruction {name!r}. {_nearest(str(name), REGISTRY)}")
    given = spec.get("kwargs") or {}
    if not isinstance(given, Mapping):
        raise ValueError(f"{name}: kwargs = {given!r:.80} must be a table.")
    # data sets in tables hold every argument of every instruction, the foreign ones empty
    given = {key: value for key, value in given.items() if value is not None}
    return Checker(name, _arguments(name, given))


def checkers(
    instructions: Iterable[Mapping[str, Any] | str], kwargs: Sequence[Any] | None = None
) -> list[Checker]:
    """Several at once.

    Args:
        instructions: specs; or, as IFEval's data has it, names (`instruction_id_list`) ...
        kwargs: ... with their arguments beside them.

    Raises:
        ValueError: as `checker`, or the two differ in length.
    """
    listed = list(instructions)
    if kwargs is None:
        return [checker({"id": one} if isinstance(one, str) else one) for one in listed]
    if len(listed) != len(kwargs):
        raise ValueError(f"{len(listed)} instructions, but {len(kwargs)} kwargs: give one each.")
    return [checker({"id": name, "kwargs": of}) for name, of in zip(listed, kwargs, strict=True)]


def compare(number: int, relation: Relation, bound: int) -> bool:
    """Whether a count keeps to its bound."""
    match relation:
        case "at least":
            return number >= bound
        case "at most":
            return number <= bound
        case "less than":
            return number < bound
        case "exactly":
            return number == bound


def _combined(spec: Mapping[str, Any], kinds: Sequence[str], depth: int) -> Checker:
    if len(spec) != 1:
        raise ValueError(f"instruction {kinds[0]!r}: it stands alone, beside {sorted(spec)}.")
    (name,) = kinds
    inner = [spec[name]] if name == "not" else spec[name]
    if not isinstance(inner, list | tuple) or not inner:
        raise ValueError(f"instruction {name!r}: give a list of instructions.")
    return Checker(name, of=tuple(checker(each, depth + 1) for each in inner))


@cache
def _signature(name: str) -> dict[str, tuple[Any, Any]]:
    """Argument to (type, default); `REQUIRED` stands for none."""
    check = REGISTRY[name][0]
    hints = get_type_hints(check, include_extras=True)
    return {
        key: (hints[key], parameter.default)
        for key, parameter in inspect.signature(check).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }


def _arguments(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    wanted = _signature(name)
    for key in given:
        if key not in wanted:
            hint = _nearest(key, wanted) if wanted else "It takes none."
            raise ValueError(f"{name} has no argument {key!r}. {hint}")
    for key, (_, default) in wanted.items():
        if default is REQUIRED and key not in given:
            raise ValueError(f"{name} needs the argument {key!r}.")
    filled = {key: given.get(key, default) for key, (_, default) in wanted.items()}
    return {key: _checked(name, key, value, wanted[key][0]) for key, value in filled.items()}


def _checked(name: str, key: str, value: Any, kind: Any) -> Any:
    """The value, if it is what the check takes."""
    where = f"{name}: {key} = {value!r:.80}"
    if get_origin(kind) is Annotated:
        kind, read = get_args(kind)
        value = _checked(name, key, value, kind)
        try:
            return read(value)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    if kind is int:
        is_whole = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_whole or value != int(value) or value < 0:
            raise ValueError(f"{where} must be a whole number, not negative.")
        return int(value)
    if kind is str:
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{where} must be a text that is not empty.")
        return value
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise ValueError(f"{where}. {_nearest(str(value), get_args(kind))}")
        return value
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError(f"{where} must be a list of texts.")
    found = tuple(value)
    if not found or not all(isinstance(each, str) and each.strip() for each in found):
        raise ValueError(f"{where} must be a list of texts that are not empty.")
    return found


def _nearest(name: str, names: Iterable[str]) -> str:
    names = sorted(names)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if not close and ":" not in name:
        close = [each for each in names if each.rpartition(":")[2] == name]
    return f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(names)}."


def _shown(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else value
