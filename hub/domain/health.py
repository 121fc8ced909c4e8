"""The register of troubles: a stable code, how serious, what it means, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Condition(StrEnum):
    """OK: nothing to do. LOOK: when there is time. STOP: now, or something will be lost."""

    OK = "OK"
    LOOK = "LOOK"
    STOP = "STOP"


@dataclass(frozen=True, slots=True)
class Line:
    """One fact about the hub. ``sentence`` and ``remedy`` are complete and ready to be read."""

    state: Condition
    code: str
    sentence: str
    remedy: str = ""


def worst(lines: Iterable[Line]) -> Condition:
    """The condition of the whole."""
    order = [Condition.OK, Condition.LOOK, Condition.STOP]
    return max((line.state for line in lines), key=order.index, default=Condition.OK)
