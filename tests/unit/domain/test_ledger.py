"""The ledger's chain: a line cannot be changed, dropped, added or moved without being noticed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hub.domain.ledger import GENESIS, Act, LedgerEntry, Role, append, first_broken

WORDS = st.text(max_size=9)
lines = st.lists(
    st.tuples(
        st.integers(0, 2**53), st.sampled_from(Act), st.text(max_size=9), st.sampled_from(Role), WORDS
    ),
    min_size=1,
    max_size=8,
)  # fmt: skip


def chain(written: list[tuple[Any, ...]]) -> list[LedgerEntry]:
    entries: list[LedgerEntry] = []
    for at_ms, act, rule, role, outcome in written:
        entries.append(append(entries[-1] if entries else None, at_ms, act, rule, role, "notice", outcome))
    return entries


@given(lines)
def test_a_ledger_as_it_was_written_is_whole(written: list[tuple[Any, ...]]) -> None:
    entries = chain(written)
    assert first_broken(entries) is None
    assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
    assert entries[0].previous == GENESIS


OTHER: dict[str, Any] = {
    "number": lambda entry: entry.number + 1,
    "at_ms": lambda entry: entry.at_ms + 1,
    "act": lambda entry: Act.HIDE if entry.act is not Act.HIDE else Act.BAN,
    "rule": lambda entry: entry.rule + "!",
    "role": lambda entry: Role.REPORTS if entry.role is Role.CARETAKER else Role.CARETAKER,
    "subject": lambda entry: "reply",
    "outcome": lambda entry: entry.outcome + "!",
    "previous": lambda entry: bytes(31) + b"\1",
    "digest": lambda entry: entry.digest[::-1],
}


@given(lines, st.data())
def test_a_change_of_any_field_of_any_line_breaks_the_chain_there(
    written: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    entries = chain(written)
    place = data.draw(st.integers(0, len(entries) - 1))
    name = data.draw(st.sampled_from(sorted(OTHER)))
    changed = replace(entries[place], **{name: OTHER[name](entries[place])})
    assert changed != entries[place]
    broken = first_broken([*entries[:place], changed, *entries[place + 1 :]])
    assert broken == changed.number


@given(lines, st.data())
def test_a_line_that_is_missing_is_noticed_unless_it_was_the_last(
    written: list[tuple[Any, ...]], data: st.DataObject
) -> None:
    entries = chain([*written, (1, Act.KEEP, "", Role.CARETAKER, "")])
    place = data.draw(st.integers(0, len(entries) - 2))
    assert first_broken(entries[:place] + entries[place + 1 :]) == entries[place + 1].number


@given(lines)
def test_a_line_written_again_with_all_digests_after_it_differs_at_the_end(
    written: list[tuple[Any, ...]],
) -> None:
    """Who published the last digest can be shown a forged past."""
    entries = chain(written)
    first = written[0]
    forged = chain([(first[0] + 1, *first[1:]), *written[1:]])
    assert first_broken(forged) is None
    assert forged[-1].digest != entries[-1].digest
