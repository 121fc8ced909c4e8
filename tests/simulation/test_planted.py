"""For each sentence of `tests.simulation.invariants`: mistakes in the shipped code that it must notice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from hub.domain import admission, legible, projection, records, sharing
from hub.domain.ids import ObjectId
from hub.domain.policy import DAY_MS
from hub.domain.projection import Logged
from hub.domain.sharing import Entry, SetKey
from hub.services import ingest
from hub.storage import arrivals, journal, projections, retention, sets
from hub.storage.database import Connection
from hub.sync.protocol import fetching, session
from tests.simulation import invariants
from tests.simulation.run import simulate
from tests.simulation.town import Broken

Patch = pytest.MonkeyPatch
TOWNS, STEPS = range(30, 60), 600


def everything_is_for_the_network(patch: Patch) -> None:
    patch.setattr(sets, "set_of", lambda header: SetKey(header.stream, b""))


def whatever_is_wanted_is_given(patch: Patch) -> None:
    def entry(self: sets.StoredSnapshot, key: SetKey, record_id: bytes) -> Entry | None:
        n = self._place(record_id)
        return None if n is None else Entry(n, sharing.IN_TURN)

    patch.setattr(sets.StoredSnapshot, "entry", entry)


def whoever_brings_it_may(patch: Patch) -> None:
    patch.setattr(admission, "_misdirected", lambda header, standing: None)


def erased_words_stay(patch: Patch) -> None:
    patch.setattr(projections, "spent", lambda versions: [])
    patch.setattr(ingest, "spent", lambda versions: [])


def late_words_of_the_erased_are_kept(patch: Patch) -> None:
    patch.setattr(ingest, "spent", lambda versions: [])
    told = projection.spent
    patch.setattr(projections, "spent", lambda versions: told(versions[:-1]))


def what_waits_keeps_its_words(patch: Patch) -> None:
    patch.setattr(arrivals, "drop_bodies", lambda connection, hub, obj: None)


def nothing_is_ever_here(patch: Patch) -> None:
    patch.setattr(sets.StoredSnapshot, "lacks", lambda self, record_id: True)


def everybody_fetches_at_once(patch: Patch) -> None:
    patch.setattr(fetching.InFlight, "claim", lambda self, record_id, by, monotonic: True)


def a_mark_tells_nothing(patch: Patch) -> None:
    true = sets.StoredSnapshot.summary
    patch.setattr(sets.StoredSnapshot, "summary", lambda self, key: (bytes(16), true(self, key)[1] // 8))


def news_is_all_that_is_told(patch: Patch) -> None:
    patch.setattr(session.Session, "_open_round", lambda self, snapshot, now: None)


def the_log_forgets_the_sets(patch: Patch) -> None:
    true, count = sets.add, iter(range(10**9))
    patch.setattr(sets, "add", lambda *given: None if next(count) % 5 == 0 else true(*given))


def what_leaves_early(patch: Patch) -> None:
    true = retention.ended
    patch.setattr(
        retention, "ended", lambda connection, now_ms, **more: true(connection, now_ms + 60 * DAY_MS, **more)
    )


def what_stays_too_long(patch: Patch) -> None:
    patch.setattr(sets, "sweep", lambda connection, now_ms: 0)
    patch.setattr(sets, "must_sweep", lambda connection, now_ms: False)


def pages_are_forgotten(patch: Patch) -> None:
    true, count = projections.refresh, iter(range(10**9))

    def refresh(
        connection: Connection, obj: ObjectId, versions: Sequence[Logged], *rest: Any, **more: Any
    ) -> Any:
        if next(count) % 5:
            return true(connection, obj, versions, **more)
        for logged in projection.spent(versions):
            journal.drop_body(connection, logged.n)
        return None

    patch.setattr(ingest, "refresh", refresh)


def signatures_are_taken_on_trust(patch: Patch) -> None:
    class Gullible:
        @staticmethod
        def from_public_bytes(data: bytes) -> Gullible:
            return Gullible()

        def verify(self, signature: bytes, data: bytes) -> None:
            pass

    patch.setattr(records, "Ed25519PublicKey", Gullible)


def there_is_no_quota(patch: Patch) -> None:
    patch.setattr(admission.Allowance, "take", lambda self, origin, size, *, new, ours: True)


def what_waits_is_not_counted(patch: Patch) -> None:
    patch.setattr(arrivals, "aside", lambda connection, neighbour: (0, 0))


def copies_are_nothing_special(patch: Patch) -> None:
    patch.setattr(arrivals, "fork", lambda connection, hub, epoch, now_ms: None)


def every_stamp_is_followed(patch: Patch) -> None:
    patch.setattr(journal, "witness", lambda last, seen, now_ms: max(last, seen))
    patch.setattr(ingest, "MAX_AHEAD_MS", 10**13)
    patch.setattr(admission, "HELD_AHEAD_MS", 10**13)
    patch.setattr(ingest, "is_ahead", lambda header, now_ms, quality: False)


def too_much_is_wanted(patch: Patch) -> None:
    true = fetching.Fetching.say

    def say(self: fetching.Fetching, snapshot: Any, monotonic: float, *, hold: bool) -> Any:
        for frame in true(self, snapshot, monotonic, hold=hold):
            yield frame
            if not hold:
                yield frame

    patch.setattr(fetching.Fetching, "say", say)


def edits_come_in_any_order(patch: Patch) -> None:
    patch.setattr(projection, "_order", lambda logged: (logged.n,))


PLANTED: list[tuple[Callable[[Patch], None], str, str]] = [
    (everything_is_for_the_network, invariants.NOTHING_SCOPED_LEAKS, ""),
    (whatever_is_wanted_is_given, invariants.NOTHING_SCOPED_LEAKS, "say_something"),
    (whoever_brings_it_may, invariants.NOTHING_SCOPED_LEAKS, "offer_anything"),
    (erased_words_stay, invariants.NOTHING_ERASED_RETURNS, ""),
    (late_words_of_the_erased_are_kept, invariants.NOTHING_ERASED_RETURNS, ""),
    (what_waits_keeps_its_words, invariants.NOTHING_ERASED_RETURNS, "erase_what_waits"),
    (nothing_is_ever_here, invariants.EACH_RECORD_COMES_ONCE, ""),
    (everybody_fetches_at_once, invariants.EACH_RECORD_COMES_ONCE, ""),
    (a_mark_tells_nothing, invariants.SAME_SET, ""),
    (news_is_all_that_is_told, invariants.SAME_SET, ""),
    (the_log_forgets_the_sets, invariants.PAGES_FOLLOW_THE_LOG, ""),
    (what_leaves_early, invariants.EACH_RECORD_COMES_ONCE, ""),
    (what_stays_too_long, invariants.EXPIRED_LEAVES_ALIKE, ""),
    (pages_are_forgotten, invariants.PAGES_FOLLOW_THE_LOG, ""),
    (signatures_are_taken_on_trust, invariants.NOBODY_SPEAKS_FOR_ANOTHER, "write_something"),
    (there_is_no_quota, invariants.A_SHARE_AND_NO_MORE, "flood"),
    (what_waits_is_not_counted, invariants.A_SHARE_AND_NO_MORE, "flood"),
    (copies_are_nothing_special, invariants.COPIES_ARE_NOTICED, "write_twice"),
    (every_stamp_is_followed, invariants.NOBODY_TURNS_OUR_CLOCK, "write_something"),
    (too_much_is_wanted, invariants.HONEST_HUBS_GET_ALONG, ""),
    (edits_come_in_any_order, invariants.EVERYBODY_READS_THE_SAME, ""),
]


def visit(favourite: str) -> None:
    """Town after town, until one is broken."""
    for seed in TOWNS:
        simulate(seed, STEPS, favourite)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("plant", "sentence", "favourite"), PLANTED, ids=[plant.__name__ for plant, _, _ in PLANTED]
)
def test_the_simulation_notices(
    plant: Callable[[Patch], None], sentence: str, favourite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(Broken) as broken:
        visit(favourite)
    assert broken.value.sentence == sentence


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_the_simulation_notices_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    def line(text: str, most: int) -> bool:
        return {"w": True}[text[:1] or "w"]  # Mallory's words begin otherwise

    monkeypatch.setattr(legible, "_line", line)
    with pytest.raises(KeyError) as raised:
        visit("write_something")
    assert "its last events" in raised.value.__notes__[0]
