"""The table of endpoints: what is served, documented and tested all comes from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Call = TypeVar("Call", bound=Callable[..., Awaitable[Any]])


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value in the path or query; ``schema`` is its JSON Schema."""

    name: str
    place: str
    sentence: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Generic[Call]):
    """One operation. ``body`` and ``answer`` are types msgspec can describe; ``media`` is the type of the
    answer, ``errors`` the statuses that come as a `Problem`. ``raw``: the body is bytes to be streamed."""

    method: str
    path: str
    name: str
    sentence: str
    call: Call
    answer: type[Any]
    media: str = "application/json"
    body: type[Any] | None = None
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[int, ...] = ()
    raw: bool = False


def in_path(name: str, sentence: str) -> Parameter:
    """A required text in the path."""
    return Parameter(name, "path", sentence, {"type": "string"})


def in_query(name: str, sentence: str, **schema: Any) -> Parameter:
    """An optional value of the query."""
    return Parameter(name, "query", sentence, {"type": "string", **schema})
