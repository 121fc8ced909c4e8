"""One trouble, one file: each check looks at one thing and says a line about it."""

from __future__ import annotations

from typing import Protocol

from hub.domain.health import Line


class Check(Protocol):
    """A check. It never raises for what it looks at; a fault of its own is reported by the register."""

    @property
    def code(self) -> str:
        """Stable, for programs."""

    async def look(self) -> Line:
        """What is so now."""
