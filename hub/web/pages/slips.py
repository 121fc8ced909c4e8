"""Take-down phrases on their way to the page that shows them: in memory, for ten minutes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_KEPT_S = 600.0
_MOST = 500


@dataclass(slots=True)
class _Slip:
    phrase: str
    device: str
    until: float
    seen: bool = False


class Slips:
    """A phrase must not stand in an address and needs no cookie: a random token stands for it.

    The device that wrote may see it again until it ends, so that a page reloaded by a phone short of
    memory still shows it. Anybody else sees it only if nobody has: a browser that keeps no cookie must
    get it, but not whoever is sent the address afterwards.
    """

    def __init__(self, monotonic: Callable[[], float], chance: Callable[[int], bytes]) -> None:
        self._monotonic = monotonic
        self._chance = chance
        self._slips: OrderedDict[str, _Slip] = OrderedDict()

    def write(self, phrase: str, device: str) -> str:
        """A token under which ``phrase`` can be read for ten minutes; ``device`` is the writer's cookie."""
        token = self._chance(12).hex()
        self._slips[token] = _Slip(phrase, device, self._monotonic() + _KEPT_S)
        while len(self._slips) > _MOST:
            self._slips.popitem(last=False)
        return token

    def read(self, token: str, device: str | None) -> str:
        """The phrase, or nothing."""
        slip = self._slips.get(token)
        if slip is None or slip.until <= self._monotonic() or (slip.seen and device != slip.device):
            return ""
        slip.seen = True
        return slip.phrase
