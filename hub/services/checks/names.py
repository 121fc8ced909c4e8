"""Whether phones find the hub by its name."""

from __future__ import annotations

from collections.abc import Callable

from hub.domain.health import Condition, Line


class NamesCheck:
    """``conflict`` gives a sentence while another device on the network uses the hub's name."""

    code = "names"

    def __init__(self, conflict: Callable[[], str], names: Callable[[], list[str]]) -> None:
        self._conflict = conflict
        self._names = names

    async def look(self) -> Line:
        """LOOK during a conflict."""
        conflict, names = self._conflict(), self._names()
        if conflict:
            return Line(Condition.LOOK, self.code, conflict, "Give one of the two another name.")
        if not names:
            return Line(Condition.OK, self.code, "The hub does not announce a name here.")
        return Line(Condition.OK, self.code, f"Phones find it as {' and '.join(names)}.")
