"""Take-down phrases on their way to the page that shows them: in memory, for ten minutes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

_KEPT_S = 600.0
_MOST = 500


class Slips:
    """A phrase must not stand in an address and needs no cookie: a random token stands for it."""

    def __init__(self, monotonic: Callable[[], float], chance: Callable[[int], bytes]) -> None:
        self._monotonic = monotonic
        self._chance = chance
        self._slips: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def write(self, phrase: str) -> str:
        """A token under which ``phrase`` can be read for ten minutes."""
        token = self._chance(12).hex()
        self._slips[token] = (phrase, self._monotonic() + _KEPT_S)
        while len(self._slips) > _MOST:
            self._slips.popitem(last=False)
        return token

    def read(self, token: str) -> str:
        """The phrase, or nothing."""
        phrase, until = self._slips.get(token, ("", 0.0))
        return phrase if until > self._monotonic() else ""
