"""Two halls end with the same records whatever happens on the way; nothing a neighbour says breaks one."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.domain import cbor
from hub.domain.admission import Outcome
from hub.domain.clock import TimeQuality
from hub.domain.reconcile import Item
from hub.domain.records import Stream
from hub.domain.sharing import DEFAULT_CHOICES, FIRST, IN_TURN, SOON, Choice, SetKey, sets_between
from hub.sync.protocol import frames
from hub.sync.protocol.fetching import id_of
from hub.sync.protocol.frames import (
    MAX_FRAME,
    MAX_RECORDS,
    MAX_RECORDS_BYTES,
    Bye,
    Frame,
    Hello,
    Offered,
    Ping,
    Pong,
    Received,
    Reconcile,
    Records,
    Summary,
    Taken,
    Wanted,
    encode,
)
from hub.sync.protocol.limits import DEFAULT_LIMITS, Limits
from hub.sync.protocol.negentropy import VERSION
from hub.sync.protocol.session import (
    End,
    Heard,
    Ingest,
    InStep,
    Moment,
    PeerTooNew,
    PeerTooOld,
    Send,
    Session,
)
from tests.unit.sync.halls import NETWORK, NOON_MS, Clock, Hall, Line, hub_id, record, street

FILES = SetKey(Stream.FILES, b"")
SMALL = replace(DEFAULT_LIMITS, wanted=16, ids=4, records=3, waiting=12, enough=6, rounds_a_minute=500)
"""Limits that a few dozen records reach."""


def fill(hall: Hall, numbers: Iterable[int], key: SetKey = NETWORK, urgency: int = IN_TURN) -> None:
    for number in numbers:
        hall.keep(record(number, key, urgency))


def joined(one: Hall, other: Hall, limits: Limits = DEFAULT_LIMITS) -> Line:
    """Two halls that have said all they had to say."""
    line = Line(one, other, limits=limits)
    line.run()
    return line


def require_alike(*halls: Hall) -> None:
    """The same records in every set, and nothing on its way."""
    first, *others = halls
    for hall in others:
        assert hall.held.keys() == first.held.keys()
    for hall in halls:
        assert len(hall.in_flight) == 0
        assert len(hall.arrived) == len(set(hall.arrived)), "a record came twice"


# Swapping


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_two_halls_end_with_the_same(data: st.DataObject) -> None:
    one, other, _ = street()
    keys = sets_between(one.hub, other.hub, DEFAULT_CHOICES, DEFAULT_CHOICES)
    size = data.draw(st.sampled_from([0, 1, 40, 300]))
    chance = data.draw(st.randoms(use_true_random=False))
    for number in range(size):
        new = record(number, chance.choice(keys), chance.choice([FIRST, SOON, IN_TURN, IN_TURN]))
        for hall in chance.choice([[one], [other], [one, other], [one, other]]):
            hall.keep(new)
    line = joined(one, other, limits=data.draw(st.sampled_from([DEFAULT_LIMITS, SMALL])))
    require_alike(one, other)
    assert line.of(0, InStep)[-1:] == line.of(1, InStep)[-1:] == [InStep(equal=True)]
    assert not list(line.ends())


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_what_is_written_meanwhile_arrives_as_well(data: st.DataObject) -> None:
    """Frames of either direction, stores and new records in any order."""
    one, other, _ = street()
    fill(one, range(0, 60, 2))
    fill(other, range(30, 90, 3))
    line = Line(one, other, limits=data.draw(st.sampled_from([DEFAULT_LIMITS, SMALL])))
    line.is_slow = True
    for number in range(100, 100 + data.draw(st.integers(0, 60))):
        for _ in range(data.draw(st.integers(0, 3))):
            side = data.draw(st.integers(0, 1))
            line.carry(side) or line.store(side)
        data.draw(st.sampled_from((one, other))).write(record(number))
    line.settle()
    line.wait(700)
    require_alike(one, other)
    assert not list(line.ends())


def test_what_is_for_neighbours_goes_to_neighbours_only() -> None:
    ours, mill_lane, oakfield = street()
    told_by_mill_lane = SetKey(Stream.NOTICES, mill_lane.hub)
    fill(mill_lane, range(5), told_by_mill_lane)
    fill(mill_lane, range(10, 15))
    joined(mill_lane, ours)
    assert len(ours.held) == 10
    line = joined(ours, oakfield)
    assert oakfield.held.keys() == {id_of(record(number)) for number in range(10, 15)}
    line.inject(0, encode(Wanted(0, tuple(ours.entries[told_by_mill_lane]))))
    line.run()
    assert len(oakfield.held) == 5
    mill_lane.write(record(20, told_by_mill_lane))
    assert oakfield.entries.keys() == {NETWORK}


@pytest.mark.parametrize("choices", [{Stream.NOTICES: Choice.NONE}, {Stream.NOTICES: Choice.EXCHANGE}, {}])
def test_what_one_of_them_does_not_exchange_stays(choices: dict[str, Choice]) -> None:
    one, other, _ = street()
    fill(one, range(3))
    fill(one, range(3, 6), FILES)
    other.choices = {Stream.FILES: Choice.HOLD, **choices}
    line = joined(one, other)
    one.write(record(6, FILES), record(7))
    line.run()
    expected = {id_of(record(number, FILES)) for number in (3, 4, 5, 6)}
    if choices.get(Stream.NOTICES) is Choice.EXCHANGE:
        expected |= {id_of(record(number)) for number in (0, 1, 2, 7)}
    assert other.held.keys() == expected


def test_two_halls_that_exchange_nothing_are_in_step() -> None:
    one, other, _ = street()
    other.choices = {}
    line = joined(one, other)
    assert line.of(0, InStep) == line.of(1, InStep) == [InStep()]


@pytest.mark.parametrize("asks", ["the hall that lacks them", "the hall that has them"])
def test_after_three_months_apart_erasures_come_first_then_what_is_urgent(asks: str) -> None:
    one, other, _ = street()
    chance = random.Random(90)
    urgencies = [FIRST] * 30 + [SOON] * 20 + [IN_TURN] * 4450
    chance.shuffle(urgencies)
    for number, urgency in enumerate(urgencies):
        other.keep(record(number, chance.choice([NETWORK, FILES]), urgency))
    if asks == "the hall that lacks them":
        joined(one, other)
    else:
        joined(other, one)
    came = [cbor.read(one.held[each].header)[3] for each in one.arrived]
    assert came == sorted(urgencies)


def test_an_urgent_notice_overtakes_a_long_queue() -> None:
    one, other, _ = street()
    fill(other, range(5000))
    line = Line(one, other)
    while len(one.held) < 300:
        line.carry(0)
        line.carry(1)
    before = len(one.held)
    other.write(record(9999, urgency=SOON))
    while id_of(record(9999)) not in one.held and id_of(record(9999, urgency=SOON)) not in one.held:
        line.carry(0)
        line.carry(1)
    assert len(one.held) - before <= 10 * MAX_RECORDS
    line.run()
    require_alike(one, other)


def test_a_new_record_is_on_the_other_side_after_one_exchange() -> None:
    one, other, _ = street()
    line = joined(one, other)
    before = len(line.sent)
    other.write(record(1))
    line.run()
    assert record(1) in one.held.values()
    said = [frame for _, frame in line.frames()[before:]]
    assert [type(frame) for frame in said] == [Offered, Taken, Records, Received]
    overhead = sum(len(frame) for _, frame in line.sent[before:]) - record(1).size
    assert overhead <= 60


def test_a_record_without_its_body_travels_as_header_and_signature() -> None:
    one, other, _ = street()
    one.keep(record(1, body=None))
    joined(one, other)
    assert list(other.held.values()) == [record(1, body=None)]


def test_a_record_that_is_dropped_before_its_turn_is_said_to_be_gone() -> None:
    one, other, _ = street()
    fill(other, range(3))
    gone = id_of(record(1))
    other.wire_instead[gone] = None
    line = joined(one, other)
    assert [frame.gone for _, frame in line.frames(Records) if isinstance(frame, Records)] == [(gone,)]
    assert len(one.held) == 2
    assert line.of(0, InStep) == [InStep(equal=False)]
    assert len(one.in_flight) == 0


def test_a_place_in_the_log_that_another_record_took_gives_nothing_away() -> None:
    one, other, _ = street()
    fill(other, range(3))
    other.wire_instead[id_of(record(1))] = record(1, SetKey(Stream.NOTICES, hub_id("Third")), body=b"secret")
    line = joined(one, other)
    assert len(one.held) == 2
    assert not any(b"secret" in frame for _, frame in line.sent)


def test_what_was_refused_or_waits_is_not_fetched_again() -> None:
    one, other, _ = street()
    fill(other, range(5))
    one.refuses = {id_of(record(0))}
    one.waits = {id_of(record(1))}
    line = joined(one, other)
    line.wait(2000)
    assert sorted(one.arrived) == sorted(id_of(record(number)) for number in (0, 2, 3, 4))
    assert len(line.of(0, InStep)) > 4
    assert not any(each.equal for each in line.of(0, InStep) if isinstance(each, InStep))


def test_what_was_refused_is_fetched_again_after_some_hours() -> None:
    one, other, _ = street()
    fill(other, range(2))
    one.refuses = {id_of(record(0))}
    line = Line(one, other, limits=replace(DEFAULT_LIMITS, again_s=1000))
    line.settle()
    one.refuses.clear()
    line.wait(800)
    assert id_of(record(0)) not in one.held
    line.wait(800)
    assert id_of(record(0)) in one.held


# What is on a line at once


def test_records_go_a_few_frames_at_a_time_and_wait_until_they_are_stored() -> None:
    one, other, _ = street()
    fill(other, range(1000))
    line = Line(one, other)
    line.is_slow = True
    line.run()
    assert len(line.frames(Records)) == DEFAULT_LIMITS.unacknowledged
    line.store(0)
    line.run()
    assert len(line.frames(Records)) == DEFAULT_LIMITS.unacknowledged + 1
    assert not line.frames(Received)[1:]
    line.settle()
    require_alike(one, other)


def test_a_frame_of_records_is_bounded_by_number_and_by_bytes() -> None:
    one, other, _ = street()
    fill(other, range(250))
    for number in range(250, 300):
        other.keep(record(number, body=bytes(16_000)))
    line = joined(one, other)
    sent = [frame.records for _, frame in line.frames(Records) if isinstance(frame, Records)]
    assert max(map(len, sent)) == MAX_RECORDS
    assert max(sum(each.size for each in records) for records in sent) <= MAX_RECORDS_BYTES
    assert max(len(frame) for _, frame in line.sent) <= MAX_FRAME
    require_alike(one, other)


@pytest.mark.parametrize("dialler", ["full", "empty"])
def test_more_than_fits_into_memory_at_once_comes_in_several_rounds(dialler: str) -> None:
    full, empty, _ = street()
    fill(full, range(200))
    line = joined(*((full, empty) if dialler == "full" else (empty, full)), limits=SMALL)
    require_alike(full, empty)
    assert line.most_to_go <= SMALL.waiting + SMALL.wanted
    for side in (0, 1):
        assert line.of(side, InStep)[-1] == InStep(equal=True)


def test_news_that_a_slow_neighbour_cannot_take_is_found_by_the_next_round() -> None:
    one, other, _ = street()
    line = joined(one, other, limits=SMALL)
    line.is_slow = True
    one.write(*(record(number) for number in range(100)))
    line.settle()
    assert len(other.held) < 100
    line.wait(400)
    require_alike(one, other)


# Lines that are cut


def every_cut() -> Iterable[int]:
    """After how many frames a line of the two below can be cut."""
    one, other = two_with_differences()
    line = joined(one, other)
    return range(len(line.sent))


def two_with_differences() -> tuple[Hall, Hall]:
    one, other, _ = street()
    fill(one, range(0, 400, 2))
    fill(other, range(100, 500, 3))
    fill(other, range(5), FILES, FIRST)
    return one, other


@pytest.mark.parametrize("after", every_cut())
def test_a_line_cut_anywhere_leaves_nothing_behind_and_the_next_goes_on(after: int) -> None:
    one, other = two_with_differences()
    line = Line(one, other)
    carried = 0
    while carried < after:
        for side in (0, 1):
            carried += carried < after and line.carry(side)
    before = len(one.held), len(other.held)
    line.cut()
    assert len(one.in_flight) == len(other.in_flight) == 0
    assert (len(one.held), len(other.held)) == before
    assert line.sessions[0].tick(one, line.now(0)) == []
    again = joined(one, other)
    require_alike(one, other)
    assert again.of(0, InStep)[-1] == again.of(1, InStep)[-1] == InStep(equal=True)


# Three halls


def triangle(clock: Clock | None = None) -> tuple[list[Hall], list[Line]]:
    halls = list(street())
    clock = clock or Clock()
    return halls, [Line(one, other, clock) for one, other in combinations(halls, 2)]


def carry_all(lines: Sequence[Line]) -> None:
    """Until nothing is on the way anywhere, in turn."""
    while sum(line.carry(side) or line.store(side) for line in lines for side in (0, 1)):
        pass


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_in_a_triangle_each_record_comes_to_each_hall_once(data: st.DataObject) -> None:
    halls = list(street())
    for number in range(data.draw(st.integers(0, 50))):
        for hall in data.draw(st.lists(st.sampled_from(halls), min_size=1, max_size=3, unique_by=id)):
            hall.keep(record(number))
    clock = Clock()
    lines = [Line(one, other, clock) for one, other in combinations(halls, 2)]
    for line in lines:
        line.is_slow = data.draw(st.booleans())
    for number in range(100, 100 + data.draw(st.integers(0, 10))):
        for _ in range(data.draw(st.integers(0, 6))):
            line, side = data.draw(st.sampled_from(lines)), data.draw(st.integers(0, 1))
            line.carry(side) or line.store(side)
        data.draw(st.sampled_from(halls)).write(record(number))
    carry_all(lines)
    for _ in range(3):
        clock.seconds += 400
        for line in lines:
            line.tick()
        carry_all(lines)
    require_alike(*halls)


def wanted_of_mill_lane() -> tuple[Hall, Line, Line]:
    """Our hall, which has asked Mill Lane for record 1 and not got it, while Oakfield has it too."""
    ours, mill_lane, oakfield = street()
    clock = Clock()
    with_mill_lane, with_oakfield = Line(mill_lane, ours, clock), Line(ours, oakfield, clock)
    carry_all([with_mill_lane, with_oakfield])
    mill_lane.write(record(1))
    with_mill_lane.carry(1)
    oakfield.write(record(1))
    with_oakfield.run()
    assert isinstance(with_mill_lane.frames()[-1][1], Taken)
    assert not ours.held
    assert with_oakfield.sessions[0].is_busy
    return ours, with_mill_lane, with_oakfield


def test_what_a_neighbour_takes_with_it_when_it_goes_is_fetched_from_another() -> None:
    ours, with_mill_lane, with_oakfield = wanted_of_mill_lane()
    with_mill_lane.cut()
    with_oakfield.wait(1)
    assert list(ours.held.values()) == [record(1)]


def test_a_neighbour_that_offers_and_never_sends_keeps_a_record_back_for_a_minute_at_most() -> None:
    ours, _, with_oakfield = wanted_of_mill_lane()
    with_oakfield.wait(58)
    assert not ours.held
    with_oakfield.wait(3)
    assert list(ours.held.values()) == [record(1)]


def test_a_record_is_not_offered_back_to_who_brought_or_offered_it() -> None:
    (ours, mill_lane, oakfield), lines = triangle()
    carry_all(lines)
    before = [len(line.frames(Offered)) for line in lines]
    mill_lane.write(record(1))
    carry_all(lines)
    require_alike(ours, mill_lane, oakfield)
    offers = sum(len(line.frames(Offered)) for line in lines) - sum(before)
    assert offers <= 4  # to both, and at most across the far side in both directions


# Rounds


def test_nothing_changed_among_100_000_records_costs_64_bytes_a_set_and_one_round_trip() -> None:
    one, other, _ = street()
    fill(one, range(100_000))
    other.held, other.places = one.held, one.places
    other.entries, other.items, other.vectors = one.entries, one.items, one.vectors
    line = joined(one, other)
    sets = len(sets_between(one.hub, other.hub, DEFAULT_CHOICES, DEFAULT_CHOICES))
    assert line.of(0, InStep) == line.of(1, InStep) == [InStep(equal=True)]
    before = len(line.sent)
    line.start_round(0)
    line.run()
    sent = line.sent[before:]
    said = Counter(type(frame) for _, frame in line.frames()[before:])
    assert said == {Summary: 2, Ping: 2, Pong: 2}
    assert sum(len(frame) for _, frame in sent) <= 64 * sets
    assert line.of(0, InStep) == line.of(1, InStep) == [InStep(equal=True)] * 2


def test_the_hall_that_dialled_begins_a_round_every_five_minutes_more_or_less() -> None:
    one, other, _ = street()
    line = joined(one, other)
    line.wait(299)
    assert len(line.frames(Summary)) == 2
    line.wait(2)
    assert [name for name, _ in line.frames(Summary)] == [one.name, other.name] * 2


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 240), (0.999999, 360)])
def test_rounds_are_jittered_by_a_fifth(chance: float, seconds: int) -> None:
    one, other, _ = street()
    line = Line(one, other, chance=chance)
    line.run()
    line.wait(seconds - 1)
    assert len(line.of(0, InStep)) == 1
    line.wait(2)
    assert len(line.of(0, InStep)) == 2


@pytest.mark.parametrize("side", [0, 1])
def test_either_side_may_ask_for_a_round(side: int) -> None:
    one, other, _ = street()
    line = joined(one, other)
    fill(one, range(3))
    fill(other, range(2, 5))
    line.start_round(side)
    line.start_round(side)
    line.run()
    require_alike(one, other)
    assert len(line.of(0, InStep)) == len(line.of(1, InStep)) == 2


def test_both_may_ask_for_a_round_at_the_same_moment() -> None:
    one, other, _ = street()
    line = joined(one, other)
    fill(one, range(3))
    fill(other, range(2, 5))
    line.start_round(1)
    line.start_round(0)
    line.run()
    require_alike(one, other)
    assert not list(line.ends())


def test_a_neighbour_that_asks_for_rounds_without_end_is_left() -> None:
    one, other, _ = street()
    line = joined(one, other)
    for _ in range(100):
        line.start_round(1)
        line.run()
    assert [end.code for end in line.ends()] == ["too-much-at-once", "left"]


# Hello, time, and goodbye


def test_each_hears_who_the_other_is_and_how_its_clock_stands() -> None:
    one, other, _ = street()
    other.ahead_ms = -3 * 3_600_000
    other.quality = TimeQuality.CARETAKER
    line = Line(one, other)
    for _ in range(20):  # a quarter of a second each way
        line.clock.seconds += 0.25
        waiting = [len(way) for way in line.on_the_way]
        for side in (0, 1):
            for _ in range(waiting[side]):
                line.carry(side)
    hello, measured = line.of(0, Heard)
    assert isinstance(hello, Heard)
    assert isinstance(measured, Heard)
    assert (hello.hello.name, hello.hello.quality, hello.protocol) == (other.name, TimeQuality.CARETAKER, 1)
    assert hello.offset_ms is None
    assert measured.offset_ms == pytest.approx(-3 * 3_600_000, abs=1)
    assert measured.steady_ms is not None
    assert measured.offset_ms is not None
    assert measured.steady_ms - measured.offset_ms == pytest.approx(
        line.now(0).now_ms - line.clock.seconds * 1000, abs=1
    )
    back = line.of(1, Heard)[-1]
    assert isinstance(back, Heard)
    assert back.offset_ms == pytest.approx(3 * 3_600_000, abs=1)


def test_a_hub_that_has_come_to_know_the_time_says_so_in_the_session_that_runs() -> None:
    one, other, _ = street()
    other.quality = TimeQuality.UNKNOWN
    line = Line(one, other)
    line.carry(1)  # the hello
    moment = replace(line.now(1), quality=TimeQuality.NEIGHBOURS)
    effects = line.sessions[1].receive(encode(Ping(7)), other, moment)
    assert Send(encode(Pong(7, moment.now_ms, TimeQuality.NEIGHBOURS))) in effects


def end_of(line: Line, side: int) -> End:
    (end,) = line.of(side, End)
    assert isinstance(end, End)
    return end


def test_halls_without_a_common_protocol_say_which_one_is_needed() -> None:
    one, other, _ = street()
    old = Session(one.hub, other.hub, dialled=True, offer=one.offer(lowest=1, highest=2))
    new = Session(other.hub, one.hub, dialled=False, offer=other.offer(lowest=3, highest=4))
    now = Moment(NOON_MS, 0.0)
    (from_old,), (from_new,) = old.begin(one, now), new.begin(other, now)
    assert isinstance(from_old, Send)
    assert isinstance(from_new, Send)
    *_, told, too_new = old.receive(from_new.frame, one, now)
    assert told == Send(encode(Bye("protocol-too-new")))
    assert too_new == End("protocol-too-new", {"needed": 3})
    assert new.receive(from_old.frame, other, now)[-1] == End("protocol-too-old", {"needed": 3})
    assert "3" in str(PeerTooOld(3))
    assert "3" in str(PeerTooNew(3))


def test_the_newest_protocol_that_both_speak_is_spoken() -> None:
    one, other, _ = street()
    session = Session(one.hub, other.hub, dialled=True, offer=one.offer(lowest=1, highest=3))
    peer = Session(other.hub, one.hub, dialled=False, offer=other.offer(lowest=2, highest=5))
    now = Moment(NOON_MS, 0.0)
    session.begin(one, now)
    (hello,) = peer.begin(other, now)
    assert isinstance(hello, Send)
    heard = session.receive(hello.frame, one, now)[0]
    assert isinstance(heard, Heard)
    assert heard.protocol == 3


@pytest.mark.parametrize(("who", "code"), [("one", "same-hub"), ("third", "another-hub")])
def test_a_hello_of_anybody_but_the_neighbour_ends_it(who: str, code: str) -> None:
    one, other, third = street()
    line = Line(one, other)
    (_, hello), *_ = line.frames(Hello)
    assert isinstance(hello, Hello)
    line.inject(0, encode(replace(hello, hub={"one": one, "third": third}[who].hub)))
    assert end_of(line, 0).code == code


def test_silence_is_broken_by_a_ping_and_in_the_end_by_leaving() -> None:
    one, other, _ = street()
    line = joined(one, other)
    line.wait(45)
    assert len(line.frames(Ping)) > 2
    line.wait(200)
    assert not list(line.ends())
    line.on_the_way = (line.on_the_way[0], deque(maxlen=0))
    for _ in range(110):
        line.clock.seconds += 1
        line.do(0, line.sessions[0].tick(one, line.now(0)))
    assert end_of(line, 0).code == "silent"


@pytest.mark.parametrize("after", range(12))
def test_a_neighbour_that_stops_in_the_middle_is_left_after_a_minute(after: int) -> None:
    one, other = two_with_differences()
    line = Line(one, other)
    for _ in range(after):
        line.carry(0)
        line.carry(1)
    line.on_the_way = (line.on_the_way[0], deque(maxlen=0))
    while line.carry(0):
        pass
    seconds = 0
    while not line.of(0, End):
        seconds += 1
        line.clock.seconds += 1
        line.inject(0, encode(Ping(seconds)))  # it is there, but does nothing
        line.do(0, line.sessions[0].tick(one, line.now(0)))
        assert seconds <= 61
    assert end_of(line, 0).code == "no-progress"
    assert len(one.in_flight) == 0


def test_chatter_does_not_keep_a_session_that_makes_no_progress() -> None:
    one, other = two_with_differences()
    line = Line(one, other)
    assert line.sessions[0].is_busy
    line.carry(0)
    for number in range(70):
        line.clock.seconds += 1
        line.inject(0, encode(Ping(number)))
    assert end_of(line, 0).code == "no-progress"


def test_a_session_in_step_waits_for_nothing() -> None:
    one, other, _ = street()
    line = joined(one, other)
    line.wait(2)
    assert not line.sessions[0].is_busy
    assert not line.sessions[1].is_busy
    assert line.sessions[0].to_go == 0


def test_a_side_that_leaves_says_why() -> None:
    one, other, _ = street()
    line = joined(one, other)
    line.do(0, line.sessions[0].leave("paused"))
    line.run()
    assert end_of(line, 0) == End("paused", {})
    assert end_of(line, 1) == End("left", {"reason": "paused"})
    assert line.sessions[0].leave("paused") == []
    with pytest.raises(ValueError, match="because of"):
        joined(one, other).sessions[0].leave("because of you")


# What a hostile neighbour may say


def is_open(line: Line) -> bool:
    return not line.sessions[0].has_ended


ID = b"i" * 32
UNEXPECTED: dict[str, list[Frame]] = {
    "a second hello": [Hello(hub_id("x"), 1, 1, "", "", "", 0, TimeQuality.UNKNOWN, {})],
    "a summary of other sets": [Summary(False, ())],
    "a message about a set that is none": [Reconcile(90, bytes((VERSION,)))],
    "an offer in a set that is none": [Offered(90, (ID,))],
    "a wish in a set that is none": [Wanted(90, (ID,))],
    "a message where none is due": [Reconcile(0, bytes((VERSION,)))],
    "an answer to no offer": [Taken((True,))],
    "an acknowledgement of nothing": [Received()],
    "an answer to no ping": [Pong(99, 0, TimeQuality.UNKNOWN)],
}


@pytest.mark.parametrize("said", UNEXPECTED.values(), ids=UNEXPECTED)
@pytest.mark.parametrize("side", [0, 1])
def test_what_means_nothing_now_ends_the_session(said: list[Frame], side: int) -> None:
    one, other, _ = street()
    line = joined(one, other)
    for frame in said:
        line.inject(side, encode(frame))
    assert end_of(line, side).code == "unexpected-frame"
    line.run()
    assert end_of(line, 1 - side) == End("left", {"reason": "unexpected-frame"})


def test_a_neighbour_that_says_anything_before_hello_is_left() -> None:
    one, other, _ = street()
    line = Line(one, other)
    line.inject(0, encode(Ping(1)))
    assert end_of(line, 0).code == "unexpected-frame"


def test_a_record_that_nobody_asked_for_ends_the_session_unread() -> None:
    one, other, _ = street()
    line = joined(one, other)
    effects = line.inject(0, encode(Records((record(1),))))
    assert not any(isinstance(each, Ingest) for each in effects)
    assert end_of(line, 0).code == "unasked-record"


def test_a_record_sent_twice_ends_the_session() -> None:
    one, other, _ = street()
    line = joined(one, other)
    line.inject(0, encode(Offered(0, (id_of(record(1)),))))
    line.inject(0, encode(Records((record(1),))))
    assert is_open(line)
    line.inject(0, encode(Records((record(1),))))
    assert end_of(line, 0).code == "unasked-record"
    assert one.arrived == [id_of(record(1))]


def some_ids(count: int, first: int = 0) -> tuple[bytes, ...]:
    return tuple((first + number).to_bytes(32, "big") for number in range(count))


def flood(line: Line, frames_: Iterable[Frame]) -> str:
    """What ends the session of the first hall when all this is said to it at once."""
    for frame in frames_:
        line.inject(0, encode(frame))
        if not is_open(line):
            return end_of(line, 0).code
    return ""


def test_more_wishes_offers_or_records_than_agreed_end_the_session() -> None:
    one, other, third = street()
    fill(one, range(20_000))
    fill(other, range(20_000))
    line = joined(one, other)
    ids = [id_of(record(number)) for number in range(20_000)]
    wishes = [Wanted(0, tuple(ids[at : at + 1000])) for at in range(0, 20_000, 1000)]
    index = sets_between(one.hub, other.hub, DEFAULT_CHOICES, DEFAULT_CHOICES).index(NETWORK)
    assert flood(line, [replace(wish, index=index) for wish in wishes]) == "too-much-at-once"

    offers = [Offered(0, some_ids(1000, at)) for at in range(0, 20_000, 1000)]
    assert flood(joined(one, third), offers) == "too-much-at-once"

    line = joined(one, other)
    line.is_slow = True
    line.inject(0, encode(Offered(0, tuple(id_of(record(30_000 + each)) for each in range(10)))))
    records = [Records((record(30_000 + number),)) for number in range(10)]
    assert flood(line, records) == "too-much-at-once"
    assert len(line.unstored[0]) == DEFAULT_LIMITS.unacknowledged


def test_a_neighbour_that_lists_ids_without_end_fills_no_memory() -> None:
    one, other, _ = street()
    line = Line(one, other)
    line.carry(0)
    line.carry(1)
    keys = sets_between(one.hub, other.hub, DEFAULT_CHOICES, DEFAULT_CHOICES)
    line.inject(0, encode(Summary(False, tuple(frames.Mark(b"x" * 16, 1) for _ in keys))))
    first = 0
    while is_open(line):
        asked = [frame for name, frame in line.frames(Reconcile) if name == one.name]
        assert isinstance(asked[-1], Reconcile)
        first += 1800
        lie = b"\x61\0\0\x02" + bytes((0x8E, 0x08)) + b"".join(some_ids(1800, first)) + b""
        line.inject(0, encode(Reconcile(asked[-1].index, lie)))
        assert line.sessions[0].to_go <= DEFAULT_LIMITS.waiting + DEFAULT_LIMITS.wanted
        if len(asked) == len([f for name, f in line.frames(Reconcile) if name == one.name]):
            break
    assert len(one.in_flight) <= DEFAULT_LIMITS.wanted
    line.clock.seconds += 61
    line.tick()
    assert not is_open(line)
    assert len(one.in_flight) == 0


def transcript() -> list[tuple[int, bytes]]:
    """Everything said in a session with differences, and to which side."""
    one, other = two_with_differences()
    line = joined(one, other, limits=SMALL)
    one.write(record(1000))
    line.run()
    return [(1 - line.halls.index(hall), frame) for hall, frame in line.sent]


SAID = transcript()


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """A frame of a real session with some bytes changed, or nothing like one."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    frame = bytearray(draw(st.sampled_from(SAID))[1])
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, min(len(frame) - 1, 60))))
        match draw(st.sampled_from(["change", "insert", "drop", "cut"])):
            case "change" if frame:
                frame[at] = draw(st.integers(0, 255))
            case "insert":
                frame[at:at] = draw(st.binary(min_size=1, max_size=5))
            case "drop":
                del frame[at : at + draw(st.integers(1, 40))]
            case _:
                del frame[at:]
    return bytes(frame)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_no_bytes_whatever_raise_and_a_session_ends_once(data: st.DataObject) -> None:
    side = data.draw(st.integers(0, 1))
    one, other = two_with_differences()
    line = Line(one, other, limits=SMALL)
    for _ in range(data.draw(st.integers(0, 25))):
        line.carry(0)
        line.carry(1)
    for frame in data.draw(st.lists(mangled(), min_size=1, max_size=12)):
        line.inject(side, frame)
        session = line.sessions[side]
        assert session.to_go <= SMALL.waiting + SMALL.wanted
        assert len(line.halls[side].in_flight) <= SMALL.wanted + SMALL.records * SMALL.unacknowledged
        if data.draw(st.booleans()):
            line.carry(side)
    line.clock.seconds += 30
    line.tick()
    effects = line.effects[side]
    ends = [place for place, each in enumerate(effects) if isinstance(each, End)]
    assert len(ends) <= 1
    if ends:
        assert ends == [len(effects) - 1]
        assert not line.halls[side].in_flight


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from(SAID), max_size=30), st.integers(0, 1))
def test_a_session_replayed_in_any_order_is_taken_or_ended(said: list[tuple[int, bytes]], side: int) -> None:
    one, other = two_with_differences()
    line = Line(one, other, limits=SMALL)
    with suppress(IndexError):
        line.carry(side)
    for _, frame in said:
        line.inject(side, frame)
    assert len(line.of(side, End)) <= 1


def test_a_frame_of_a_newer_release_is_skipped_or_ends_it_as_its_type_says() -> None:
    one, other, _ = street()
    line = joined(one, other)
    assert line.inject(0, b"\x81of tomorrow") == []
    assert is_open(line)
    line.inject(0, b"\x71of tomorrow")
    assert end_of(line, 0).code == "unknown-frame"


def test_after_the_end_nothing_is_said_or_done() -> None:
    one, other, _ = street()
    line = joined(one, other)
    line.inject(0, b"")
    session, now = line.sessions[0], line.now(0)
    assert session.has_ended
    assert session.receive(encode(Ping(1)), one, now) == []
    assert session.tick(one, now) == []
    assert session.start_round(one, now) == []
    assert session.stored(Outcome(), one, now) == []
    assert session.news([(NETWORK, Item(1, ID), IN_TURN)], one, now) == []


# Ten in a line


def test_ten_halls_in_a_line_spend_80_bytes_on_each_record_that_arrives() -> None:
    """All that is said but the records themselves, hellos and clocks counted: sync.md, section 3."""
    halls = [Hall(f"Hall {number}") for number in range(10)]
    shared, each = 2000, 100
    for place, hall in enumerate(halls):
        fill(hall, range(shared))
        fill(hall, range(shared + place * each, shared + (place + 1) * each))
    clock = Clock()
    lines = [Line(one, other, clock) for one, other in pairwise(halls)]
    carry_all(lines)
    require_alike(*halls)
    said = sum(len(frame) for line in lines for _, frame in line.sent)
    moved = [halls[0].held[record_id] for hall in halls for record_id in hall.arrived]
    assert len(moved) == 10 * 9 * each
    assert (said - sum(record_.size for record_ in moved)) / len(moved) <= 80
