"""Pairing as a state machine: what two of them do whatever the network and their caretakers do."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from hub.domain import cbor
from hub.domain.certificates import certificate_of
from hub.domain.errors import HubError, NoRoom
from hub.domain.ids import HubId
from hub.domain.neighbours import Address, Card
from hub.domain.sharing import DEFAULT_CHOICES
from hub.sync.protocol.pairing import (
    MAX_FRAME,
    BadPairing,
    Busy,
    Cut,
    Effect,
    Failed,
    Keep,
    OtherVersion,
    Over,
    OwnHub,
    Pairing,
    Refusal,
    Say,
    Stage,
    Unconfirmed,
    digits,
)
from tests import world

CALLER, ANSWERER = world.own_hub(), world.neighbours()[0]


def key_of(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def card_of(hub: world.StreetHub) -> Card:
    key = key_of(hub.key)
    id_ = HubId(key.public_key().public_bytes_raw())
    addresses = (Address(f"{hub.key}.local", 8448),)
    return Card(id_, hub.name, hub.colour, certificate_of(id_, key.sign), addresses, DEFAULT_CHOICES)


ONE, OTHER = card_of(CALLER), card_of(ANSWERER)


@dataclass(slots=True)
class Side:
    """One of the two: what it said that has not arrived, and what came of it."""

    pairing: Pairing
    said: deque[bytes] = field(default_factory=deque)
    kept: list[Card] = field(default_factory=list)
    ends: list[HubError | None] = field(default_factory=list)
    full: bool = False

    def carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Say(frame):
                    assert len(frame) <= MAX_FRAME
                    self.said.append(frame)
                case Keep(card, _) if self.full:
                    self.carry_out(self.pairing.not_kept(NoRoom()))
                case Keep(card, port):
                    assert port == 8448
                    self.kept.append(card)
                    self.carry_out(self.pairing.kept())
                case Over(trouble):
                    self.ends.append(trouble)


def two_sides(caller_nonce: bytes = b"a" * 32, answerer_nonce: bytes = b"b" * 32) -> tuple[Side, Side]:
    caller = Side(Pairing(ONE, 8448, caller_nonce, key_of(CALLER.key).sign, OTHER.certificate))
    answerer = Side(Pairing(OTHER, 8448, answerer_nonce, key_of(ANSWERER.key).sign))
    caller.carry_out(caller.pairing.begin())
    return caller, answerer


def talk(caller: Side, answerer: Side) -> None:
    """Deliver everything that was said until nobody says any more."""
    while caller.said or answerer.said:
        for source, sink in ((caller, answerer), (answerer, caller)):
            if source.said:
                sink.carry_out(sink.pairing.receive(source.said.popleft()))


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_both_show_the_same_digits_and_keep_each_other_once_both_accepted(one: bytes, other: bytes) -> None:
    caller, answerer = two_sides(one, other)
    talk(caller, answerer)
    assert caller.pairing.digits == answerer.pairing.digits
    assert caller.pairing.digits == digits(ONE.certificate, OTHER.certificate, one, other)
    caller.carry_out(caller.pairing.accept())
    talk(caller, answerer)
    assert (caller.kept, answerer.kept) == ([], [])
    answerer.carry_out(answerer.pairing.accept())
    talk(caller, answerer)
    assert (caller.kept, answerer.kept) == ([OTHER], [ONE])
    assert (caller.ends, answerer.ends) == ([None], [None])


def test_the_digits_are_those_of_the_written_protocol() -> None:
    said = b"commhub-pair-digits-1\0" + ONE.hub + OTHER.hub
    said += hashlib.sha256(ONE.certificate).digest() + hashlib.sha256(OTHER.certificate).digest()
    number = int.from_bytes(hashlib.sha256(said + b"a" * 32 + b"b" * 32).digest(), "big") % 1_000_000
    assert digits(ONE.certificate, OTHER.certificate, b"a" * 32, b"b" * 32) == f"{number:06}"
    keys = [Ed25519PrivateKey.from_private_bytes(bytes(range(at, at + 32))) for at in (0, 32)]
    certificates = [certificate_of(HubId(key.public_key().public_bytes_raw()), key.sign) for key in keys]
    assert digits(certificates[0], certificates[1], bytes(32), b"\xff" * 32) == "817939"


def test_a_caller_who_reveals_another_number_than_the_one_it_stands_by_gets_no_digits() -> None:
    caller, answerer = two_sides()
    answerer.carry_out(answerer.pairing.receive(caller.said.popleft()))
    caller.pairing._nonce = b"c" * 32  # chosen once the other's is known, and signed as it should be
    caller.carry_out(caller.pairing.receive(answerer.said.popleft()))
    answerer.carry_out(answerer.pairing.receive(caller.said.popleft()))
    assert (answerer.pairing.digits, type(answerer.ends[0])) == ("", BadPairing)


@pytest.mark.parametrize("signed_by", ["somebody else", "nobody"])
def test_a_caller_without_the_key_of_its_certificate_gets_no_digits(signed_by: str) -> None:
    caller, answerer = two_sides()
    if signed_by == "somebody else":
        thief = Pairing(ONE, 8448, b"a" * 32, key_of("mallory").sign, OTHER.certificate)
        caller = Side(thief)
        caller.carry_out(thief.begin())
    answerer.carry_out(answerer.pairing.receive(caller.said.popleft()))
    caller.carry_out(caller.pairing.receive(answerer.said.popleft()))
    reveal = caller.said.popleft()
    if signed_by == "nobody":
        reveal = reveal[:1] + cbor.encode([b"a" * 32, bytes(64)])
    answerer.carry_out(answerer.pairing.receive(reveal))
    assert (answerer.pairing.digits, type(answerer.ends[0])) == ("", BadPairing)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("key", [4, 5, 6, 7, 8])
def test_nothing_that_was_said_can_be_changed_on_the_way(number: int, key: int) -> None:
    caller, answerer = two_sides()

    def changed(frame: bytes) -> bytes:
        said = cbor.decode(frame[1:])
        said[key] = {4: "Another", 5: "brick", 6: 99, 7: [["evil.example", 1]], 8: []}[key]
        return frame[:1] + cbor.encode(said)

    call = caller.said.popleft()
    answerer.carry_out(answerer.pairing.receive(changed(call) if number == 0 else call))
    answer = answerer.said.popleft()
    caller.carry_out(caller.pairing.receive(changed(answer) if number == 1 else answer))
    answerer.carry_out(answerer.pairing.receive(caller.said.popleft()))
    assert (answerer.pairing.digits, type(answerer.ends[0])) == ("", BadPairing)


def test_a_certificate_that_is_no_hubs_is_not_called() -> None:
    for certificate in (b"", b"\x30\x00", OTHER.certificate[:-1], OTHER.certificate + b"\0"):
        pairing = Pairing(ONE, 8448, b"a" * 32, key_of(CALLER.key).sign, certificate)
        [over] = pairing.begin()
        assert isinstance(over, Over)
        assert over.trouble is not None
        assert over.trouble.code == "bad-certificate"


def test_a_hub_is_not_paired_with_itself() -> None:
    calling = Pairing(ONE, 8448, b"a" * 32, key_of(CALLER.key).sign, ONE.certificate)
    [over] = calling.begin()
    assert isinstance(over, Over)
    assert isinstance(over.trouble, OwnHub)
    caller, _ = two_sides()
    mirror = Side(Pairing(ONE, 8448, b"b" * 32, key_of(CALLER.key).sign))
    talk(caller, mirror)
    assert [type(end) for end in (*caller.ends, *mirror.ends)] == [OwnHub, OwnHub]


@pytest.mark.parametrize(("lowest", "highest", "understood"), [(1, 9, True), (2, 9, False), (0, 0, False)])
def test_hubs_of_other_versions_are_told_so(lowest: int, highest: int, understood: bool) -> None:
    caller, answerer = two_sides()
    frame = caller.said.popleft()
    said = cbor.decode(frame[1:])
    said |= {1: lowest, 2: highest}
    if not understood:
        said = {1: lowest, 2: highest, 77: "whatever it says then"}
    answerer.carry_out(answerer.pairing.receive(frame[:1] + cbor.encode(said)))
    caller.carry_out(caller.pairing.receive(answerer.said.popleft()))
    if understood:
        assert caller.pairing.stage is Stage.COMPARING
    else:
        assert [type(end) for end in (*caller.ends, *answerer.ends)] == [OtherVersion, OtherVersion]


def test_a_reason_that_nobody_here_knows_is_a_failure_without_its_words() -> None:
    caller, _ = two_sides()
    caller.carry_out(caller.pairing.receive(b"\x06" + cbor.encode("your house is on fire")))
    assert [type(end) for end in caller.ends] == [Failed]


def test_a_hub_that_has_no_time_says_so() -> None:
    caller, answerer = two_sides()
    answerer.carry_out(answerer.pairing.stop(Busy()))
    talk(caller, answerer)
    assert [type(end) for end in (*caller.ends, *answerer.ends)] == [Busy, Busy]


ACTS = st.lists(
    st.sampled_from(
        ["hear", "be heard", "accept", "accept there", "refuse", "refuse there", "cut", "full", "stop"]
    ),
    max_size=24,
)
MOSTLY_WELL = st.lists(st.sampled_from(["hear", "be heard", "accept", "accept there", "full"]), max_size=20)


@given(ACTS | MOSTLY_WELL, st.sampled_from(["", "cut"]))
def test_whatever_happens_nobody_keeps_a_hub_that_both_have_not_accepted(acts: list[str], end: str) -> None:
    caller, answerer = two_sides()
    refused = False
    for act in [*acts, *["hear", "be heard"] * 8 * (not end), "cut"]:
        match act:
            case "hear" if answerer.said:
                caller.carry_out(caller.pairing.receive(answerer.said.popleft()))
            case "be heard" if caller.said:
                answerer.carry_out(answerer.pairing.receive(caller.said.popleft()))
            case "accept" if caller.pairing.digits:
                caller.carry_out(caller.pairing.accept())
            case "accept there" if answerer.pairing.digits:
                answerer.carry_out(answerer.pairing.accept())
            case "refuse":
                refused |= not caller.pairing.accepted
                caller.carry_out(caller.pairing.refuse())
            case "refuse there":
                refused |= not answerer.pairing.accepted
                answerer.carry_out(answerer.pairing.refuse())
            case "stop":
                caller.carry_out(caller.pairing.stop(Busy()))
            case "full":
                answerer.full = True
            case "cut":
                caller.said.clear()
                answerer.said.clear()
                caller.carry_out(caller.pairing.lost())
                answerer.carry_out(answerer.pairing.lost())
        both = caller.pairing.accepted and answerer.pairing.accepted
        assert both or not (caller.kept or answerer.kept)
    assert not (refused and (caller.kept or answerer.kept))
    for side, other in ((caller, answerer), (answerer, caller)):
        assert len(side.ends) == 1  # each is told exactly once how it ended
        [ended] = side.ends
        if side.kept:
            assert ended is None or isinstance(ended, Unconfirmed)
            assert ended is not None or other.kept  # well only if the other has kept it as well
        else:
            assert ended is not None
            assert not isinstance(ended, Unconfirmed)


FRAMES = st.binary(max_size=200) | st.builds(
    lambda kind, said: bytes((kind,)) + cbor.encode(said),
    st.integers(0, 9),
    st.recursive(
        st.none() | st.booleans() | st.integers(0, 2**53) | st.binary(max_size=70) | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.integers(1, 10), inner, max_size=10),
        max_leaves=20,
    ),
)


@given(st.integers(0, 5), st.booleans(), FRAMES)
def test_nothing_that_is_said_raises_or_makes_a_hub_accept(steps: int, to_caller: bool, frame: bytes) -> None:
    caller, answerer = two_sides()
    for step in range(steps):
        source, sink = ((caller, answerer), (answerer, caller))[step % 2]
        if source.said:
            sink.carry_out(sink.pairing.receive(source.said.popleft()))
    side = caller if to_caller else answerer
    side.carry_out(side.pairing.receive(frame))
    assert (caller.kept, answerer.kept) == ([], [])
    assert side.pairing.accepted is False
    side.carry_out(side.pairing.lost())
    assert len(side.ends) == 1


@given(st.data())
def test_frames_with_a_few_bytes_changed_raise_nothing(data: st.DataObject) -> None:
    caller, answerer = two_sides()
    for _ in range(4):
        for source, sink in ((caller, answerer), (answerer, caller)):
            if not source.said:
                continue
            frame = bytearray(source.said.popleft())
            for _ in range(data.draw(st.integers(0, 2))):
                frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
            sink.carry_out(sink.pairing.receive(bytes(frame)))
        caller.carry_out(caller.pairing.accept())
    assert caller.kept == [] or caller.kept == [OTHER]
    assert answerer.kept == []


def test_the_connection_ends_before_anybody_accepted() -> None:
    caller, answerer = two_sides()
    for side in (caller, answerer):
        side.carry_out(side.pairing.lost())
        side.carry_out(side.pairing.lost())
        assert [type(end) for end in side.ends] == [Cut]


def test_refusing_is_heard_on_the_other_side() -> None:
    caller, answerer = two_sides()
    talk(caller, answerer)
    answerer.carry_out(answerer.pairing.accept())
    caller.carry_out(caller.pairing.refuse())
    talk(caller, answerer)
    assert [type(end) for end in (*caller.ends, *answerer.ends)] == [Refusal, Refusal]
