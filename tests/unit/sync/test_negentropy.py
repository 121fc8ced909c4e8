"""Two sets find their difference, whoever asks and however small the frames; nothing sent breaks it."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable
from hashlib import sha256
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.domain.errors import Refused
from hub.domain.reconcile import BadMessage, Item, Splitting, Vector, encode_varint, fingerprint_of
from hub.sync.protocol.negentropy import (
    FRAME_BYTES,
    MAX_OPEN,
    MAX_RANGES,
    MAX_ROUNDS,
    SMALLEST_FRAME,
    FrameTooLong,
    Mode,
    Reconciler,
    TooManyOpen,
    TooManyRanges,
    TooManyRounds,
    UnsupportedVersion,
    parse,
)
from tests.contracts import negentropy as golden

GOLDEN = json.loads(golden.FILE.read_text("utf-8"))
frames = st.sampled_from([SMALLEST_FRAME, SMALLEST_FRAME + 1, 5_000, 16_384, FRAME_BYTES, 2**20])
spreads = st.sampled_from([0, 1, 60_000])
splittings = st.sampled_from(
    [Splitting(), Splitting(8, 8), Splitting(2, 2), Splitting(4, 2), Splitting(16, 8), Splitting(64, 112)]
)


def item(number: int, apart: int = 1000) -> Item:
    """Items ``apart`` milliseconds from each other; 0 puts all of them in one."""
    return Item(1_795_392_000_000 + number * apart, sha256(b"%d" % number).digest())


def reconciled(
    ours: Iterable[Item],
    theirs: Iterable[Item],
    frame_limit: int = FRAME_BYTES,
    splits: tuple[Splitting, Splitting] = (Splitting(), Splitting()),
) -> tuple[list[bytes], list[bytes]]:
    """What the initiator finds, after any number of reconciliations that each find what they can."""
    ours, theirs = set(ours), set(theirs)
    everything = {each.id: each for each in ours | theirs}
    all_have: list[bytes] = []
    all_need: list[bytes] = []
    while True:
        initiator = Reconciler(Vector(ours), frame_limit, splits[0])
        other = Reconciler(Vector(theirs), frame_limit, splits[1])
        have: list[bytes] = []
        need: list[bytes] = []
        message: bytes | None = initiator.initiate()
        try:
            while message is not None:
                assert len(message) <= frame_limit
                answer = other.answer(message)
                assert len(answer) <= frame_limit
                step = initiator.reconcile(answer)
                message = step.reply
                have += step.have
                need += step.need
        except TooManyRounds:
            assert have or need
        all_have += have
        all_need += need
        if message is None:
            return all_have, all_need
        theirs |= {everything[each] for each in have}
        ours |= {everything[each] for each in need}


def ids(items: Iterable[Item]) -> list[bytes]:
    return sorted(each.id for each in items)


@st.composite
def two_sets(draw: st.DrawFn, spread: st.SearchStrategy[int] = spreads) -> tuple[set[Item], set[Item]]:
    """Shared and single items, spread over time or heaped on few moments, sizes over all thresholds."""
    size = draw(st.sampled_from([0, 1, 15, 31, 32, 33, 64, 257, 700]))
    apart = draw(spread)
    single = draw(st.sampled_from([0.0, 0.01, 0.2, 1.0]))
    chance = draw(st.randoms(use_true_random=False))
    ours: set[Item] = set()
    theirs: set[Item] = set()
    for number in range(size):
        here = item(number, apart)
        if chance.random() >= single:
            ours.add(here)
            theirs.add(here)
        else:
            chance.choice((ours, theirs)).add(here)
    return ours, theirs


@settings(deadline=None)
@given(two_sets(), frames, st.tuples(splittings, splittings))
def test_any_two_sets_find_exactly_their_difference(
    sets: tuple[set[Item], set[Item]], frame_limit: int, splits: tuple[Splitting, Splitting]
) -> None:
    ours, theirs = sets
    have, need = reconciled(ours, theirs, frame_limit, splits)
    assert sorted(have) == ids(ours - theirs)
    assert sorted(need) == ids(theirs - ours)


@settings(deadline=None)
@given(
    st.sets(st.builds(item, st.integers(0, 40), st.just(0)), max_size=30),
    st.sets(st.builds(item, st.integers(0, 40), st.just(0)), max_size=30),
    st.tuples(splittings, splittings),
)
def test_any_two_small_sets_in_one_moment_do_too(
    ours: set[Item], theirs: set[Item], splits: tuple[Splitting, Splitting]
) -> None:
    have, need = reconciled(ours, theirs, splits=splits)
    assert (sorted(have), sorted(need)) == (ids(ours - theirs), ids(theirs - ours))


@settings(deadline=None, max_examples=30)
@given(
    spreads.flatmap(lambda apart: st.lists(two_sets(st.just(apart)), min_size=3, max_size=3)),
    st.randoms(use_true_random=False),
    frames,
)
def test_three_hubs_end_with_one_set_in_whatever_order_they_meet(
    sets: list[tuple[set[Item], set[Item]]], chance: random.Random, frame_limit: int
) -> None:
    hubs = [set(ours) for ours, _ in sets]
    everything = set.union(*hubs)
    by_id = {each.id: each for each in everything}
    meetings = list(permutations(range(3), 2))
    chance.shuffle(meetings)
    for one, other in meetings:
        have, need = reconciled(hubs[one], hubs[other], frame_limit)
        hubs[other] |= {by_id[each] for each in have}
        hubs[one] |= {by_id[each] for each in need}
        assert hubs[one] == hubs[other]
    assert (
        fingerprint_of(Vector(hubs[0])) == fingerprint_of(Vector(hubs[1])) == fingerprint_of(Vector(hubs[2]))
    )
    assert hubs[0] == everything


def test_more_than_one_reconciliation_can_tell_is_found_by_the_next() -> None:
    ours = [item(number) for number in range(6_000) if number % 3]
    theirs = [item(number) for number in range(6_000) if (number + 1) % 3]
    have, need = reconciled(ours, theirs, SMALLEST_FRAME)
    assert sorted(have) == ids(set(ours) - set(theirs))
    assert sorted(need) == ids(set(theirs) - set(ours))


def test_a_set_may_grow_between_two_messages() -> None:
    initiator, other = (Reconciler(Vector(map(item, range(side, 400, 2)))) for side in (0, 1))
    told: set[bytes] = set()
    message: bytes | None = initiator.initiate()
    size = 400
    while message is not None:
        answer = other.answer(message)
        size += 300
        initiator.view, other.view = (Vector(map(item, range(side, size, 2))) for side in (0, 1))
        step = initiator.reconcile(answer)
        told |= {*step.have, *step.need}
        message = step.reply
    assert {item(number).id for number in range(400)} <= told
    assert told <= {item(number).id for number in range(size)}


# The words on the wire


def test_the_vectors_are_fresh() -> None:
    """``python -m tests.contracts.negentropy`` renews them; then other implementations no longer agree."""
    assert golden.vectors() == GOLDEN


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])
def test_a_transcript_is_spoken_word_for_word(case: dict[str, Any]) -> None:
    views = [Vector(golden.items(case[side], case["apart"])) for side in ("initiator", "other")]
    initiator, other = (Reconciler(view, case["frame_limit"]) for view in views)
    words = iter(case["messages"])
    said: bytes | None = initiator.initiate()
    for expected in words:
        assert said is not None
        assert said.hex() == expected
        answer = other.answer(said)
        assert answer.hex() == next(words)
        said = initiator.reconcile(answer).reply
    assert said is None


def test_the_vectors_of_the_specification() -> None:
    """sync.md, section 4."""
    assert Reconciler(Vector([])).initiate() == bytes.fromhex("6100000200")
    assert Reconciler(Vector([])).answer(b"\x62") == b"\x61"
    one = Reconciler(Vector([Item(12345, b"\xee" * 32)]))
    assert one.answer(bytes.fromhex("6100000200")) == bytes.fromhex("6100000201" + "ee" * 32)


@pytest.mark.parametrize(("message", "answer"), GOLDEN["versions"].items())
def test_another_version_is_answered_with_ours(message: str, answer: str) -> None:
    assert Reconciler(Vector([])).answer(bytes.fromhex(message)) == bytes.fromhex(answer)


@pytest.mark.parametrize(("message", "code"), GOLDEN["refused"].items(), ids=lambda text: text[:24])
def test_a_message_that_breaks_a_rule_is_refused(message: str, code: str) -> None:
    data = bytes.fromhex(message)
    for party in (Reconciler(Vector([])).answer, begun().reconcile):
        with pytest.raises(BadMessage) as refusal:
            party(data)
        assert refusal.value.code == code


def begun(size: int = 0) -> Reconciler:
    initiator = Reconciler(Vector(map(item, range(size))))
    initiator.initiate()
    return initiator


def test_an_initiator_needs_a_side_that_speaks_its_version() -> None:
    with pytest.raises(UnsupportedVersion):
        begun().reconcile(b"\x62")


def test_a_frame_over_the_limit_is_refused_unread() -> None:
    too_long = b"\x61" + bytes(FRAME_BYTES)
    with pytest.raises(FrameTooLong):
        Reconciler(Vector([])).answer(too_long)
    with pytest.raises(FrameTooLong):
        begun().reconcile(too_long)


def test_the_65th_round_is_refused() -> None:
    other = Reconciler(Vector([]))
    for _ in range(MAX_ROUNDS):
        assert not other.is_spent
        other.answer(b"\x61")
    assert other.is_spent
    with pytest.raises(TooManyRounds):
        other.answer(b"\x61")


def kinds_of(kind: type[BadMessage]) -> list[type[BadMessage]]:
    return [each for below in kind.__subclasses__() for each in (below, *kinds_of(below))]


def test_every_refusal_has_a_code_of_its_own_and_can_be_read() -> None:
    kinds = kinds_of(BadMessage)
    assert len({kind.code for kind in kinds}) == len(kinds) >= 20
    for kind in kinds:
        assert issubclass(kind, Refused)
        assert kind.template != BadMessage.template or kind.code in str(kind())
        assert "{" not in str(kind())


@pytest.mark.parametrize("splitting", [Splitting(1, 8), Splitting(65, 8), Splitting(8, 1), Splitting(8, 113)])
def test_a_splitting_that_has_no_end_or_no_room_is_a_mistake(splitting: Splitting) -> None:
    with pytest.raises(ValueError, match="this splitting"):
        Reconciler(Vector([]), FRAME_BYTES, splitting)


def test_a_frame_limit_below_4096_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="4,096"):
        Reconciler(Vector([]), SMALLEST_FRAME - 1)


# What a hostile neighbour may send


def lies(count: int, step: int = 1) -> bytes:
    """``count`` wrong fingerprints, each of a range ``step`` seconds long."""
    first = encode_varint(item(0).timestamp + 1)
    each = encode_varint(1000 * step + 1)
    return b"\x61" + b"".join((each if number else first) + b"\0\x01" + bytes(16) for number in range(count))


def test_4096_wrong_fingerprints_cost_bounded_work_and_one_frame() -> None:
    view = Vector(map(item, range(100_000)))
    limit = 2**17
    for party in (Reconciler(view, limit).answer, lambda message: begun_on(view, limit).reconcile(message)):
        before = time.process_time()
        answer = party(lies(MAX_RANGES, 24))
        assert time.process_time() - before < 2.0
        said = answer if isinstance(answer, bytes) else answer.reply
        assert said is not None
        assert len(said) <= limit
        assert len(parse(said)) <= MAX_RANGES
    with pytest.raises(TooManyRanges):
        Reconciler(view, limit).answer(lies(MAX_RANGES + 1))


def begun_on(view: Vector, frame_limit: int) -> Reconciler:
    initiator = Reconciler(view, frame_limit)
    initiator.initiate()
    return initiator


def test_a_neighbour_that_contradicts_everything_is_left_after_a_bounded_number_of_ranges() -> None:
    view = Vector(map(item, range(100_000)))
    initiator = Reconciler(view, 2**17)
    assert initiator.initiate()
    before = time.process_time()
    with pytest.raises((TooManyOpen, TooManyRounds)):
        contradict(initiator)
    assert time.process_time() - before < 5.0
    assert MAX_OPEN == 4 * MAX_RANGES


def contradict(initiator: Reconciler) -> None:
    while initiator.reconcile(lies(MAX_RANGES, 24)).reply is not None:
        pass


def test_what_was_not_asked_about_teaches_nothing() -> None:
    initiator = begun(100)
    everything = b"\x61\x00\x00\x02" + bytes([1]) + b"\xaa" * 32
    step = initiator.reconcile(everything)
    assert step.reply is None
    assert len(step.have) == 100
    assert step.need == [b"\xaa" * 32]
    assert initiator.reconcile(everything) == (None, [], [])


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_changed_message_is_understood_or_refused_and_nothing_else(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(GOLDEN["cases"]))
    message = bytearray.fromhex(data.draw(st.sampled_from(case["messages"])))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, max(0, min(len(message) - 1, 80))))
        match data.draw(st.sampled_from(["change", "insert", "drop", "cut", "repeat"])):
            case "change" if message:
                message[at] = data.draw(st.integers(0, 255))
            case "insert":
                message[at:at] = data.draw(st.binary(min_size=1, max_size=9))
            case "drop":
                del message[at : at + data.draw(st.integers(1, 40))]
            case "cut":
                del message[at:]
            case _:
                message += message[at:]
    took_in(bytes(message))


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200))
def test_random_bytes_are_understood_or_refused_and_nothing_else(noise: bytes) -> None:
    took_in(b"\x61" + noise)


def took_in(message: bytes) -> None:
    """Both sides take ``message``; each answer is one that the strict reading accepts."""
    view = Vector(item(number, 1) for number in range(700))
    before = time.process_time()
    for party in (Reconciler(view).answer, begun_on(view, FRAME_BYTES).reconcile):
        try:
            outcome = party(message)
        except BadMessage:
            continue
        said = outcome if isinstance(outcome, bytes) else outcome.reply
        assert said is None or said == b"\x61" or parse(said)
    assert time.process_time() - before < 1.0


@given(st.binary(max_size=120))
def test_what_is_read_covers_the_line_once_upwards(noise: bytes) -> None:
    try:
        ranges = parse(b"\x61" + noise)
    except BadMessage:
        return
    uppers = [each.upper for each in ranges]
    assert uppers == sorted(uppers)
    assert all(len(each.payload) == 16 for each in ranges if each.mode is Mode.FINGERPRINT)
    assert not any(each.payload for each in ranges if each.mode is Mode.SKIP)
