"""What a bench found, with the goal it is held to, and the table of it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number. ``goal`` begins with ``>=`` or ``<=``; an empty one is for information only."""

    bench: str
    what: str
    value: float
    unit: str = ""
    goal: str = ""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met, or None where there is none."""
        if not self.goal:
            return None
        limit = float(self.goal[2:].replace(",", ""))
        return self.value >= limit if self.goal.startswith(">=") else self.value <= limit

    @property
    def shown(self) -> str:
        """The value as people read it."""
        if self.value == int(self.value) or abs(self.value) >= 100:
            return f"{self.value:,.0f}"
        return f"{self.value:.2f}" if abs(self.value) >= 0.1 else f"{self.value:.3f}"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the rounds' ratios: what slows both sides of a round cancels out."""
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which ``share`` of ``values`` lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def table(figures: Iterable[Figure]) -> str:
    """The figures as a Markdown table."""
    words = {None: "", True: "met", False: "SHORT"}
    rows = [("bench", "what", "measured", "goal", "", "note")]
    rows += [
        (each.bench, each.what, f"{each.shown} {each.unit}".strip(), each.goal, words[each.met], each.note)
        for each in figures
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
             for row in rows]  # fmt: skip
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines)
