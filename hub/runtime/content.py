"""Answers that can be kept: what was asked, and the bytes that answer it until something is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FOREVER_MS = 2**53


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to read: names from the path and the query's first values."""

    names: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Content:
    """A complete answer. It stays true until the next commit or ``until_ms`` (Unix ms), the earlier.

    ``keep`` is False for what only this asker may see, and ``shared`` is True for what is the same for
    every device: without it, an answer is kept for visitors who have not written anything here.
    """

    body: bytes
    type: str
    status: int = 200
    until_ms: int = FOREVER_MS
    keep: bool = True
    shared: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
