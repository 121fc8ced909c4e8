"""Finding the handler of a path: a table of routes, looked up by whole path first, by pattern second."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

Handler = TypeVar("Handler")


@dataclass(frozen=True, slots=True)
class Route(Generic[Handler]):
    """``pattern`` is a path with ``{name}`` for one segment's part: ``/notices/{id}.json``."""

    method: str
    pattern: str
    handler: Handler


@dataclass(frozen=True, slots=True)
class Match(Generic[Handler]):
    """The handler for a request and the values of the pattern's names."""

    handler: Handler
    names: dict[str, str]


class Router(Generic[Handler]):
    """Routes in the order given; the first that fits wins. ``HEAD`` finds the handler of ``GET``."""

    def __init__(self, routes: Iterable[Route[Handler]]) -> None:
        self._whole: dict[str, dict[str, Handler]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Handler]]] = []
        by_pattern: dict[str, dict[str, Handler]] = {}
        for route in routes:
            if "{" not in route.pattern:
                self._whole.setdefault(route.pattern, {})[route.method] = route.handler
            elif route.pattern in by_pattern:
                by_pattern[route.pattern][route.method] = route.handler
            else:
                by_pattern[route.pattern] = {route.method: route.handler}
                self._patterns.append((_compiled(route.pattern), by_pattern[route.pattern]))

    def find(self, method: str, path: str) -> Match[Handler] | frozenset[str] | None:
        """The match; or the methods the path knows instead; or None when it knows no such path."""
        wanted = "GET" if method == "HEAD" else method
        allowed: set[str] = set()
        handlers = self._whole.get(path)
        if handlers is not None:
            if wanted in handlers:
                return Match(handlers[wanted], {})
            allowed |= handlers.keys()
        for pattern, handlers in self._patterns:
            found = pattern.fullmatch(path)
            if found is None:
                continue
            if wanted in handlers:
                return Match(handlers[wanted], found.groupdict())
            allowed |= handlers.keys()
        return frozenset(allowed) if allowed else None


def _compiled(pattern: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", pattern)
    return re.compile(
        "".join(
            re.escape(part) if place % 2 == 0 else f"(?P<{part}>[^/]+)" for place, part in enumerate(parts)
        )
    )
