"""The register's verdict is that of its worst line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hub.domain.health import Condition, Line, worst

lines = st.lists(st.sampled_from(Condition).map(lambda state: Line(state, "code", "A sentence.")))


@given(lines)
def test_the_whole_is_as_bad_as_its_worst_line(some: list[Line]) -> None:
    states = {line.state for line in some}
    expected = next((c for c in (Condition.STOP, Condition.LOOK) if c in states), Condition.OK)
    assert worst(some) is expected


def test_nothing_to_say_is_well() -> None:
    assert worst([]) is Condition.OK
