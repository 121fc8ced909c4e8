"""The public decision ledger: append-only lines, each chained to the one before by its hash (decision 9).

A line names the act, the rule, the role and the outcome; never the person, never the text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from hub.domain import cbor

GENESIS = bytes(32)


class Act(StrEnum):
    """What was decided."""

    HIDE = "hide"
    AUTO_HIDE = "auto-hide"
    RESTORE = "restore"
    REFUSE = "refuse"
    ERASE = "erase"
    PAUSE = "pause"
    BAN = "ban"
    LIFT = "lift"
    KEEP = "keep"
    SETTING = "setting"
    PAIR = "pair"
    PART = "part"


class Role(StrEnum):
    """Who decided, by role only."""

    CARETAKER = "caretaker"
    REPORTS = "reports"
    """The rule that hides what enough people reported until a person has looked (product.md J11)."""
    ADVICE = "advice"
    """A neighbour's block list that a caretaker follows (sync.md 2.4)."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One line. ``number`` starts at 1; ``subject`` is a kind of thing ("notice", "reply", "device", …)."""

    number: int
    at_ms: int
    act: Act
    rule: str
    role: Role
    subject: str
    outcome: str
    previous: bytes
    digest: bytes


def append(
    last: LedgerEntry | None, at_ms: int, act: Act, rule: str, role: Role, subject: str, outcome: str = ""
) -> LedgerEntry:
    """The entry that follows ``last``; its digest covers every field and the digest before it."""
    number = 1 if last is None else last.number + 1
    previous = GENESIS if last is None else last.digest
    digest = _digest(number, at_ms, act, rule, role, subject, outcome, previous)
    return LedgerEntry(number, at_ms, act, rule, role, subject, outcome, previous, digest)


def first_broken(entries: Iterable[LedgerEntry]) -> int | None:
    """The number of the first entry (in order) that does not follow from those before it, or None."""
    last: LedgerEntry | None = None
    for entry in entries:
        expected = append(last, entry.at_ms, entry.act, entry.rule, entry.role, entry.subject, entry.outcome)
        if entry != expected:
            return entry.number
        last = entry
    return None


def _digest(
    number: int, at_ms: int, act: Act, rule: str, role: Role, subject: str, outcome: str, previous: bytes
) -> bytes:
    line = cbor.encode([number, at_ms, str(act), rule, str(role), subject, outcome, previous])
    return hashlib.sha256(line).digest()
