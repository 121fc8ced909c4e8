"""Names and addresses of a hub, and what a stranger's TXT record may do to us (nothing)."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.domain import naming
from hub.domain.ids import HubId, short_hub_id
from hub.domain.naming import HubHint, LocalAddress
from hub.domain.notices import MAX_NAME

HUB = HubId(bytes(range(32)))
hubs = st.binary(min_size=32, max_size=32).map(HubId)
any_text = st.text(st.characters(exclude_categories=()), max_size=200)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Green Lane Community Centre", "green-lane-community-centre"),
        ("St John's Hall", "st-johns-hall"),
        ("St John’s Hall, Elm Road", "st-johns-hall-elm-road"),
        ("Canolfan Tŷ’r Ysgol", "canolfan-tyr-ysgol"),
        ("Świetlica Łódź", "swietlica-lodz"),
        ("Straße 9 ½", "strasse-9-1-2"),
        ("Ørsted & Åse", "orsted-ase"),
        ("گرین لین", "hub"),
        ("قاعة ١٢", "12"),
        ("村役場", "hub"),
        ("", "hub"),
        ("---", "hub"),
        ("xn--ls8h", "xn-ls8h"),
        ("The Old Schoolhouse Community Library", "the-old-schoolhouse-community"),
        ("A" * 60, "a" * 32),
    ],
)
def test_a_slug_is_what_a_person_would_type(name, label):
    assert naming.slug(name) == label


@given(any_text)
def test_a_slug_is_always_a_host_label(name):
    label = naming.slug(name)
    assert re.fullmatch(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", label)
    assert "--" not in label
    assert len(label) <= naming.MAX_SLUG
    assert naming.slug(label) == label


@given(any_text)
def test_the_labels_to_claim_are_distinct_and_fit(name):
    labels = naming.host_labels(name)
    assert labels[0] == naming.slug(name)
    assert len(set(labels)) == len(labels) == 1 + naming.SPARE_NAMES
    assert all(len(label) <= naming.MAX_LABEL_BYTES for label in labels)


def test_the_sure_name_is_made_of_the_hubs_key():
    assert naming.host_name(naming.sure_label(HUB)) == f"hub-{short_hub_id(HUB)}.local"


@given(any_text, hubs)
def test_an_instance_name_is_one_label_and_ends_with_the_id(name, hub):
    instance = naming.instance_name(name, hub)
    assert instance.endswith(f" {short_hub_id(hub)}")
    assert len(instance.encode()) <= naming.MAX_LABEL_BYTES
    assert "." not in instance
    assert instance.isprintable() or not name.isprintable()


def test_an_instance_name_is_cut_between_letters():
    assert naming.instance_name("Green Lane", HUB) == f"Green Lane {short_hub_id(HUB)}"
    assert naming.instance_name("St. Mary's", HUB) == f"St Mary's {short_hub_id(HUB)}"
    assert naming.instance_name("\x00\n", HUB) == f"Hub {short_hub_id(HUB)}"
    long = naming.instance_name("e\u0301" * 40, HUB).removesuffix(f" {short_hub_id(HUB)}")
    assert long == "e\u0301" * 19


@given(st.text(max_size=80), st.integers(0, 100))
def test_fitted_text_is_a_beginning_within_its_bytes(text, limit):
    kept = naming.fit(text, limit)
    assert text.startswith(kept)
    assert len(kept.encode()) <= limit or kept == text


@given(any_text, any_text, hubs)
def test_a_txt_record_is_under_200_bytes_and_says_what_was_put_in(name, version, hub):
    hint = naming.hint_of(hub, name, version)
    attributes = naming.build_txt(hint)
    assert next(iter(attributes)) == b"txtvers"
    assert naming.txt_size(attributes) < 200
    back = naming.parse_txt(attributes)
    assert back is not None
    assert back.fingerprint == hint.fingerprint
    assert hint.name.startswith(back.name)


def test_a_txt_record_of_a_usual_hub_is_whole():
    attributes = naming.build_txt(naming.hint_of(HUB, "Canolfan Tŷ’r Ysgol", "0.1.0"))
    assert naming.parse_txt(attributes) == HubHint(
        "000g40r40m30e209185gr38e1w", "Canolfan Tŷ’r Ysgol", "0.1.0"
    )


def test_a_long_name_is_cut_and_the_rest_of_the_txt_record_stays():
    attributes = naming.build_txt(naming.hint_of(HUB, "ع" * 300, "0.1.0"))
    assert attributes[b"v"] == b"0.1.0"
    assert 100 < len(attributes[b"n"]) < 200


@given(
    st.dictionaries(
        st.sampled_from([b"txtvers", b"id", b"ID", b"n", b"v", b"x"]) | st.binary(max_size=9),
        st.none() | st.binary(max_size=255) | st.just(b"1") | st.just(b"0123456789abcdefghjkmnpqrs"),
        max_size=8,
    )
)
def test_any_txt_record_gives_a_readable_hint_or_none(attributes):
    hint = naming.parse_txt(attributes)
    if hint is not None:
        assert 16 <= len(hint.fingerprint) <= 26
        assert len(hint.name) <= MAX_NAME
        assert hint.name == naming.readable(hint.name)
        assert hint.version.isascii()
        assert len(hint.version) <= naming.MAX_VERSION


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {b"txtvers": b"2", b"id": b"0" * 26},
        {b"txtvers": b"1"},
        {b"txtvers": b"1", b"id": None},
        {b"txtvers": b"1", b"id": b"0" * 15},
        {b"txtvers": b"1", b"id": b"0" * 27},
        {b"txtvers": b"1", b"id": b"u" * 26},
        {b"txtvers": b"1", b"id": b"\xff" * 26},
    ],
)
def test_what_is_not_a_hubs_txt_record_is_none(attributes):
    assert naming.parse_txt(attributes) is None


def test_a_strangers_name_cannot_turn_the_line_around_or_break_it():
    attributes = {
        b"txtvers": b"1",
        b"ID": b"0" * 26,
        b"n": "Green\u202e\nLane\x1b[31m".encode(),
        b"v": b"\x07",
    }
    assert naming.parse_txt(attributes) == HubHint("0" * 26, "Green Lane[31m", "")


def found(*pairs):
    return [LocalAddress(interface, ip) for interface, ip in pairs]


def test_the_addresses_people_can_use_come_first():
    here = found(
        ("lo", "127.0.0.1"), ("eth0", "100.64.3.4"), ("eth0", "2001:db8::5"), ("eth0", "fe80::1"),
        ("docker0", "172.17.0.1"), ("wg0", "10.9.0.1"), ("wlan0", "10.42.0.1"), ("wlan0", "fd00::2"),
    )  # fmt: skip
    assert naming.printed_addresses(here)[0] == "10.42.0.1"
    assert set(naming.printed_addresses(here)) == {"10.42.0.1", "100.64.3.4", "2001:db8::5", "fd00::2"}


def test_link_local_addresses_are_told_only_where_there_is_nothing_better():
    here = found(("eth0", "169.254.7.7"), ("eth0", "fe80::1"), ("wlan0", "192.168.1.5"), ("wlan0", "fe80::2"))
    assert [each.ip for each in naming.announced_addresses(here)] == ["192.168.1.5", "169.254.7.7", "fe80::1"]
    assert naming.printed_addresses(here) == ("192.168.1.5", "169.254.7.7")


def test_containers_are_told_only_where_there_is_nothing_else():
    assert naming.printed_addresses(found(("lo", "127.0.0.1"), ("docker0", "172.17.0.1"))) == ("172.17.0.1",)
    assert naming.printed_addresses(found(("lo", "127.0.0.1"))) == ()


def test_multicast_goes_out_once_a_family_on_every_announced_interface():
    here = found(
        ("lo", "127.0.0.1"), ("eth0", "192.168.1.5"), ("eth0", "192.168.1.6"), ("eth0", "2001:db8::5"),
        ("eth0", "fe80::1"), ("wlan0", "10.42.0.1"), ("docker0", "172.17.0.1"),
    )  # fmt: skip
    assert naming.multicast_interfaces(here) == ["10.42.0.1", "192.168.1.5", "fe80::1"]


addresses = st.lists(
    st.builds(
        LocalAddress,
        st.sampled_from(["lo", "eth0", "wlan0", "docker0", "br-0123456789ab", "tun0"]),
        (st.ip_addresses(v=4) | st.ip_addresses(v=6)).map(str)
        | st.sampled_from(["127.0.0.1", "::1", "169.254.1.1", "fe80::1", "10.0.0.1", "192.168.0.1"]),
    ),
    max_size=20,
)


@given(addresses)
def test_never_loopback_never_too_many_and_never_none_without_need(here):
    told = naming.announced_addresses(here)
    assert set(told) <= set(here)
    assert not any(each.parsed.is_loopback for each in told)
    assert len(told) <= naming.MAX_ANNOUNCED
    assert bool(told) == any(not (each.parsed.is_loopback or each.parsed.is_unspecified) for each in here)
    assert all("%" not in ip and "fe80" not in ip[:4] for ip in naming.printed_addresses(here))
    assert set(naming.multicast_interfaces(here)) <= {each.ip for each in here}


packed = st.sets(st.integers(1, 9).map(lambda n: ipaddress.IPv4Address(n).packed), min_size=1, max_size=4)


@given(packed, packed)
def test_of_two_hubs_that_see_each_other_whole_exactly_one_keeps_the_name(mine, theirs):
    mine, theirs = mine - theirs, theirs - mine
    if mine and theirs:
        assert naming.prevails(mine, theirs) != naming.prevails(theirs, mine)


def test_an_address_of_another_kind_does_not_decide_a_contest():
    low, high = ipaddress.ip_address("10.0.0.1").packed, ipaddress.ip_address("10.0.0.2").packed
    six = ipaddress.ip_address("fd00::1").packed
    assert naming.prevails({high, six}, {low})
    assert not naming.prevails({low, six}, {high})
    assert not naming.prevails({six}, {low})


ports = st.none() | st.integers(1, 65535)
ranges = st.none() | st.tuples(st.integers(1, 99), st.integers(0, 99)).map(lambda pair: (pair[0], sum(pair)))


@given(any_text, any_text, hubs, ports, ranges, ports)
def test_where_hubs_connect_is_told_whatever_the_name_and_comes_back_whole(
    name, version, hub, sync_port, protocol, pairing_port
):
    hint = naming.hint_of(
        hub, name, version, sync_port=sync_port, protocol=protocol, pairing_port=pairing_port
    )
    attributes = naming.build_txt(hint)
    assert naming.txt_size(attributes) < 200
    raw = b"".join(
        bytes([len(key) + 1 + len(value)]) + key + b"=" + value for key, value in attributes.items()
    )
    back = naming.parse_txt(naming.unpack_txt(raw))
    assert back is not None
    assert (back.sync_port, back.protocol, back.pairing_port) == (sync_port, protocol, pairing_port)
    assert back.is_of(hub)


def test_a_hint_is_of_one_hub_only():
    assert naming.hint_of(HUB, "Green Lane", "0.1.0").is_of(HUB)
    assert not naming.hint_of(HUB, "Green Lane", "0.1.0").is_of(HubId(bytes(32)))


@pytest.mark.parametrize(
    "port", [b"", b"0", b"65536", b"-1", b"+80", b" 80", b"80 ", b"1e3", b"999999", b"\xb2"]
)
def test_what_is_no_port_is_none(port):
    hint = naming.parse_txt({b"txtvers": b"1", b"id": b"0" * 26, b"s": port, b"pair": b"1", b"pp": port})
    assert hint is not None
    assert (hint.sync_port, hint.pairing_port) == (None, None)


@pytest.mark.parametrize("versions", [b"", b"1", b"2-1", b"0-1", b"1-1000", b"1-1-1", b"-1-1", b"1 - 1"])
def test_what_is_no_range_of_versions_is_none(versions):
    hint = naming.parse_txt({b"txtvers": b"1", b"id": b"0" * 26, b"p": versions})
    assert hint is not None
    assert hint.protocol is None


@pytest.mark.parametrize("pair", [None, b"", b"0", b"yes"])
def test_a_pairing_port_without_an_open_window_is_nothing(pair):
    hint = naming.parse_txt({b"txtvers": b"1", b"id": b"0" * 26, b"pair": pair, b"pp": b"8449"})
    assert hint is not None
    assert hint.pairing_port is None


@given(st.binary(max_size=300))
def test_the_bytes_of_any_txt_record_can_be_taken_apart(raw):
    for key, value in naming.unpack_txt(raw).items():
        assert key
        assert b"=" not in key
        assert key in raw
        assert value is None or key + b"=" + value in raw


def test_what_a_txt_record_is_cut_short_of_is_left_out():
    assert naming.unpack_txt(b"\x03a=1\x00\x01b\x02c=\x03=x1\x03A=2\x09d=1") == {
        b"a": b"1", b"b": None, b"c": b"", b"A": b"2",
    }  # fmt: skip


def test_a_network_is_of_usual_size_where_the_system_does_not_say():
    assert str(LocalAddress("eth0", "10.1.2.3").network) == "10.1.2.0/24"
    assert str(LocalAddress("eth0", "10.1.2.3", 16).network) == "10.1.0.0/16"
    assert str(LocalAddress("eth0", "fd00::1:2").network) == "fd00::/64"
