"""How both harnesses score the quickstart's task; standard library, for they import no other."""

import re


def are_named(reply: str, digits: str) -> bool:
    """Whether a reply is four digits, all of them among `digits`."""
    said = re.sub(r"[\s,]", "", reply)
    return len(said) == 4 and set(said) <= set(digits)


def four_of_those_named(doc: dict[str, str], results: list[str]) -> dict[str, float]:
    """As lm-eval calls it."""
    return {"named": float(are_named(results[0], doc["digits"]))}
