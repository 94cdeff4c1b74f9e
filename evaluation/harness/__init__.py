"""Harnesses of others, behind an address: one file a kind.

A kind is a class of `munro.evaluation.job.Harness`; its file's name is the name people write, and a
package of anybody's adds one under the entry-point group `munro.harnesses`.
"""

from __future__ import annotations

from typing import Any

from munro.evaluation.job import Harness
from munro.rewards.plugins import Registry

__all__ = ["HARNESSES"]


def _fits(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Harness) and value is not Harness


HARNESSES = Registry(
    what="harness", group="munro.harnesses", home="munro.evaluation.harness", fits=_fits
)
