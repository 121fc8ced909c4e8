"""How the hub is: runs the checks and keeps what the faces ask for."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from hub.domain.health import Condition, Line, worst
from hub.services.checks import Check

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Standing:
    """What does not change by checking: who the hub is and where it is found."""

    name: str
    hub: str
    version: str
    addresses: tuple[str, ...]
    posting: str
    started_ms: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class HealthReport:
    """Everything a status shows."""

    state: Condition
    lines: tuple[Line, ...]
    standing: Standing


class Health:
    """``standing`` is asked anew each time. A check that fails becomes a line; the others still run."""

    def __init__(self, checks: Sequence[Check], standing: Callable[[], Awaitable[Standing]]) -> None:
        self._checks = checks
        self._standing = standing

    async def lines(self) -> tuple[Line, ...]:
        """One line from each check."""
        return tuple([await self._look(check) for check in self._checks])

    async def report(self) -> HealthReport:
        """The whole status."""
        lines, standing = await self.lines(), await self._standing()
        return HealthReport(worst(lines), lines, standing)

    async def _look(self, check: Check) -> Line:
        try:
            return await check.look()
        except Exception:
            _log.exception("check failed", extra={"check": check.code})
            return Line(
                Condition.LOOK, check.code, f"The check “{check.code}” itself failed.", "See the log."
            )
