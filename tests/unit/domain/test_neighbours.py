"""What other hubs say of themselves, cleaned; addresses as people type them; names told apart."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.domain.certificates import BadCertificate, certificate_of
from hub.domain.clock import TimeQuality
from hub.domain.ids import HubId, RecordId
from hub.domain.neighbours import (
    COLOURS,
    MAX_ADDRESSES,
    UNKNOWN_COLOUR,
    Address,
    BadAddress,
    KnownAddress,
    Learnt,
    agreed,
    callable_addresses,
    card_of,
    order_to_try,
    parse_address,
    read_choices,
    shown_name,
    spare,
    told_apart,
)
from hub.domain.notices import MAX_NAME
from hub.domain.records import BadRecord
from hub.domain.sharing import Choice
from hub.domain.status import (
    NAMED,
    StatusBody,
    encode_status,
    name_newest,
    read_status,
    short_id,
    status_object,
)
from hub.services.identity import identity_of
from hub.web.rendering import HOUSE_COLOURS
from hub.web.rendering import UNKNOWN_COLOUR as UNKNOWN_ON_PAGES

MILL_LANE, OAKFIELD = identity_of(b"m" * 32), identity_of(b"o" * 32)


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ("192.168.4.7", Address("192.168.4.7", 8448)),
        (" 192.168.4.7:9000 ", Address("192.168.4.7", 9000)),
        ("Oakfield.local", Address("oakfield.local", 8448)),
        ("oakfield.local:8449", Address("oakfield.local", 8449)),
        ("fd00::7", Address("fd00::7", 8448)),
        ("[fd00::7]:8449", Address("fd00::7", 8449)),
        ("fe80::1%eth0", Address("fe80::1%eth0", 8448)),
        ("http://oakfield.local:8080/notices/abc", Address("oakfield.local", 8448)),
        ("http://[fd00::7]:8080/", Address("fd00::7", 8448)),
    ],
)
def test_an_address_is_read_as_people_type_or_paste_it(typed: str, address: Address) -> None:
    assert parse_address(typed) == address


@pytest.mark.parametrize(
    "typed",
    ["", "oak field", "192.168.4", "192.168.4.700", "oakfield:0", "oakfield:70000", "[fd00::7", "[oakfield]",
     "::", "224.0.0.251", "-oak.local", "http://", "a" * 64 + ".local", "oakfield:port", "ok\n:1"],
)  # fmt: skip
def test_what_is_no_address_is_refused_in_words(typed: str) -> None:
    with pytest.raises(BadAddress) as refused:
        parse_address(typed)
    assert "Nothing was changed" in str(refused.value)


@given(st.text(max_size=80))
def test_whatever_is_typed_gives_an_address_that_reads_the_same_again_or_a_refusal(typed: str) -> None:
    try:
        address = parse_address(typed)
    except BadAddress:
        return
    assert parse_address(str(address)) == address


def test_a_hub_is_told_at_most_sixteen_addresses_and_none_that_cannot_be_called() -> None:
    said = [Address("::", 1), Address("10.0.0.1", 0), *(Address(f"10.0.0.{n}", 8448) for n in range(40))]
    found = callable_addresses(said)
    assert len(found) == MAX_ADDRESSES - 2
    assert Address("10.0.0.0", 8448) in found


def test_a_hub_is_called_where_it_was_met_last_then_where_somebody_typed() -> None:
    known = [
        KnownAddress(Address("10.0.0.1", 1), Learnt.TOLD),
        KnownAddress(Address("10.0.0.2", 1), Learnt.HEARD),
        KnownAddress(Address("10.0.0.3", 1), Learnt.TYPED),
        KnownAddress(Address("10.0.0.4", 1), Learnt.TOLD, good_ms=5),
        KnownAddress(Address("10.0.0.5", 1), Learnt.MET, good_ms=9),
    ]
    assert [address.host[-1] for address in order_to_try(known)] == ["5", "4", "3", "2", "1"]


def test_addresses_told_without_end_push_each_other_out_but_never_a_typed_one() -> None:
    typed = KnownAddress(Address("oakfield.local", 1), Learnt.TYPED)
    told = [KnownAddress(Address(f"10.0.0.{n}", 1), Learnt.TOLD) for n in range(MAX_ADDRESSES + 5)]
    gone = spare([typed, *told])
    assert len(gone) == 5
    assert typed.address not in gone


def test_a_card_is_its_certificates_and_its_words_are_cleaned() -> None:
    certificate = certificate_of(MILL_LANE.hub, MILL_LANE.sign)
    card = card_of(
        certificate, "Mill\u202e Lane\nHall", "scarlet", [], {"files": "none", "chess": "exchange"}
    )
    assert (card.hub, card.name, card.colour) == (MILL_LANE.hub, "Mill Lane Hall", UNKNOWN_COLOUR)
    assert card.choices == {"status": Choice.EXCHANGE, "files": Choice.NONE}
    with pytest.raises(BadCertificate):
        card_of(certificate[:-1] + bytes([certificate[-1] ^ 1]), "Mill Lane", "moss", [], {})


@given(st.text(max_size=200))
def test_any_name_is_shown_on_one_line_and_is_never_empty(said: str) -> None:
    name = shown_name(MILL_LANE.hub, said)
    assert 0 < len(name) <= MAX_NAME
    assert name == name.strip()
    assert len(name.splitlines()) == 1
    assert shown_name(MILL_LANE.hub, name) == name


def test_a_hub_cannot_pass_for_another_by_taking_its_name() -> None:
    names = told_apart({MILL_LANE.hub: "Tanyard  Road", OAKFIELD.hub: "Oakfield"}, "TANYARD ROAD")
    assert names[OAKFIELD.hub] == "Oakfield"
    assert names[MILL_LANE.hub].startswith("Tanyard  Road (")
    both = told_apart({MILL_LANE.hub: "Oakfield", OAKFIELD.hub: "Oakfíeld"})
    assert len(set(both.values())) == 2
    assert all("(" in name for name in both.values())


def test_a_stream_is_agreed_when_neither_hub_says_no() -> None:
    assert agreed({"notices": Choice.HOLD}, {"notices": Choice.EXCHANGE}, "notices")
    assert not agreed({"notices": Choice.HOLD}, {"notices": Choice.NONE}, "notices")
    assert not agreed({"notices": Choice.HOLD}, {}, "notices")
    assert read_choices({"status": "none"}) == {"status": Choice.EXCHANGE}


def test_the_colours_hubs_tell_are_those_that_pages_can_paint() -> None:
    assert set(COLOURS) == set(HOUSE_COLOURS)
    assert UNKNOWN_COLOUR == UNKNOWN_ON_PAGES


# --- status -----------------------------------------------------------------------------------------

names = st.text(min_size=1, max_size=MAX_NAME).map(lambda said: shown_name(MILL_LANE.hub, said))
statuses = st.builds(
    StatusBody,
    name=names,
    colour=st.sampled_from(COLOURS),
    version=st.sampled_from(["", "0.1.0", "1.12.3rc1"]),
    quality=st.sampled_from(TimeQuality),
    erased=st.integers(0, 10**6),
    named=st.lists(st.binary(min_size=8, max_size=8), max_size=20).map(tuple),
)


@given(statuses)
def test_a_status_is_read_as_it_was_written(body: StatusBody) -> None:
    assert read_status(MILL_LANE.hub, encode_status(body, b"s" * 16)) == body


@given(st.binary(max_size=200) | statuses.map(lambda body: encode_status(body, b"s" * 16)), st.data())
def test_a_damaged_status_is_refused_and_nothing_else_happens(data: bytes, chance: st.DataObject) -> None:
    at = chance.draw(st.integers(0, max(0, len(data) - 1)))
    damaged = data[:at] + chance.draw(st.binary(max_size=3)) + data[at + 1 :]
    try:
        body = read_status(MILL_LANE.hub, damaged)
    except Exception as refusal:
        assert getattr(refusal, "code", "") in ("bad-record", "not-canonical")  # noqa: PT017
    else:
        assert body.colour in COLOURS
        assert len(body.named) <= NAMED


def test_a_status_that_names_too_many_or_half_an_erasure_is_refused() -> None:
    body = StatusBody("Mill Lane", "moss", "1", TimeQuality.CARETAKER, 3, ())
    for named in ((b"12345678",) * (NAMED + 1), (b"1234567",)):
        with pytest.raises(BadRecord):
            read_status(MILL_LANE.hub, encode_status(replace(body, named=named), b"s" * 16))


def test_a_status_names_the_newest_erasures() -> None:
    retractions = [(stamp, RecordId(stamp.to_bytes(32, "little"))) for stamp in range(NAMED + 50)]
    named = name_newest(retractions)
    assert len(named) == NAMED
    assert short_id(retractions[-1][1]) in named
    assert short_id(retractions[49][1]) not in named


def test_each_hub_has_one_status_of_its_own() -> None:
    assert status_object(MILL_LANE.hub) != status_object(OAKFIELD.hub)
    assert len(status_object(HubId(b"x" * 32))) == 16
