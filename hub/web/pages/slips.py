"""What is said once on its way to the page that says it: in memory, for ten minutes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from hub.services.fileshare import Line

_KEPT_S = 600.0
_MOST = 500


@dataclass(frozen=True, slots=True)
class Slip:
    """A take-down phrase, and what became of each file of a form; either may be empty."""

    phrase: str = ""
    lines: tuple[Line, ...] = ()


@dataclass(slots=True)
class _Kept:
    slip: Slip
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
        self._slips: OrderedDict[str, _Kept] = OrderedDict()

    def write(self, phrase: str, device: str, lines: tuple[Line, ...] = ()) -> str:
        """A token under which a slip can be read for ten minutes; ``device`` is the writer's cookie."""
        token = self._chance(12).hex()
        self._slips[token] = _Kept(Slip(phrase, lines), device, self._monotonic() + _KEPT_S)
        while len(self._slips) > _MOST:
            self._slips.popitem(last=False)
        return token

    def read(self, token: str, device: str | None) -> Slip:
        """The slip, or an empty one."""
        kept = self._slips.get(token)
        if kept is None or kept.until <= self._monotonic() or (kept.seen and device != kept.device):
            return Slip()
        kept.seen = True
        return kept.slip
