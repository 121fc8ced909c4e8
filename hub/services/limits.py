"""How much one device, one address and all together may write: kept in memory only, and bounded."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from math import ceil

from hub.domain.errors import TryLater
from hub.domain.limits import Bucket, Rate, draw, full

_REMEMBERED = 4096
"""Buckets kept; the one not used for longest goes first, which can only be generous."""


class Gate:
    """Token buckets by name. Addresses live here and nowhere else, until they are forgotten."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._buckets: OrderedDict[tuple[str, object], Bucket] = OrderedDict()

    def pass_or_raise(self, *draws: tuple[str, object, Rate]) -> None:
        """Take one token from each of ``(kind, who, rate)``, or from none and raise `TryLater`."""
        with self._lock:  # the event loop and the writer's thread both ask
            self._pass_or_raise(draws)

    def _pass_or_raise(self, draws: tuple[tuple[str, object, Rate], ...]) -> None:
        now = self._monotonic()
        after: list[tuple[tuple[str, object], Bucket]] = []
        for kind, who, rate in draws:
            bucket, wait = draw(self._buckets.get((kind, who)) or full(rate, now), rate, now)
            if wait:
                raise TryLater(seconds=ceil(wait))
            after.append(((kind, who), bucket))
        for name, bucket in after:
            self._buckets[name] = bucket
            self._buckets.move_to_end(name)
        while len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
