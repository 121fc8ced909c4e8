"""Many rows in few statements: each one hands the interpreter to another thread and back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

AT_ONCE = 50


def insert(connection: sqlite3.Connection, into: str, rows: Sequence[Sequence[Any]]) -> None:
    """Run ``into``, an ``INSERT INTO table`` without its values, for all ``rows``, which are equally long."""
    for part in parts(rows):
        row = f"({', '.join('?' * len(part[0]))})"
        connection.execute(f"{into} VALUES {', '.join([row] * len(part))}", [*chain.from_iterable(part)])


def parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """``values`` in runs that fit into a statement."""
    return (values[start : start + AT_ONCE] for start in range(0, len(values), AT_ONCE))


def marks(values: Sequence[Any]) -> str:
    """A place for each of ``values`` in a statement's list."""
    return ", ".join("?" * len(values))
