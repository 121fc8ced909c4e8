"""What a hub is called on a local network, and which of its addresses are worth telling.

mDNS is a hint (decision 31): everything made here helps people and neighbouring hubs to find the
place, nothing of it proves who is there. What is parsed here may come from anyone on the network.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hub.domain.ids import ALPHABET, HubId, base32, short_hub_id
from hub.domain.notices import MAX_NAME

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_SLUG = 32
"""Characters: short enough for a poster, and with ``-9`` far below the 63 bytes of a DNS label."""
MAX_LABEL_BYTES = 63
"""Bytes of UTF-8 in one DNS label (RFC 1035 section 2.3.4); an instance name is one label."""
MAX_TXT_BYTES = 199
"""Bytes of a whole TXT record, length bytes included: with it a full answer stays in one packet."""
MAX_VERSION = 20
FINGERPRINT_LENGTH = 26
"""Characters of ``id=``: 130 bits of the hub's key."""
SHORTEST_FINGERPRINT = 16
MAX_ANNOUNCED = 8
"""Addresses in one announcement: IPv6 privacy addresses would otherwise outgrow the packet."""
MAX_PROTOCOL = 999
"""The highest protocol version that is read from a TXT record."""
SPARE_NAMES = 8

_UNDECOMPOSED = str.maketrans({
    "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "ħ": "h", "ŋ": "n",
    "'": "", "’": "", "ʼ": "", "`": "", "´": "",
})  # fmt: skip
_PORT = re.compile(rb"[0-9]{1,5}")
_RANGE = re.compile(rb"([0-9]{1,3})-([0-9]{1,3})")
_NOT_IN_LABEL = re.compile(r"[^a-z0-9]+")
_DIRECTION_CONTROLS = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_BEHIND_THE_SCENES = re.compile(
    r"docker|br-[0-9a-f]{6,}|veth|virbr|vnet|cni|flannel|cali|podman|lxc|lxd|incus|vmnet|vboxnet|kube"
    r"|tun|tap|wg|tailscale|zt|utun|awdl|llw|ppp"
)
"""Interface names of containers, virtual machines and tunnels: residents are not behind them."""


def slug(name: str) -> str:
    """A host label from a hub's name in any script: ``[a-z0-9-]``, 1 to 32 characters, never empty.

    Accents are folded, digits of every script become 0-9, apostrophes vanish. Letters that have no
    Latin base are left out, since browsers ask for them in punycode and no mDNS answer would fit;
    a name with nothing left is plain ``hub``.
    """
    letters: list[str] = []
    for letter in unicodedata.normalize("NFKD", name.casefold().translate(_UNDECOMPOSED)):
        if unicodedata.category(letter).startswith("M"):
            continue
        digit = unicodedata.decimal(letter, None)
        letters.append(letter if digit is None else str(digit))
    label = _NOT_IN_LABEL.sub("-", "".join(letters).translate(_UNDECOMPOSED).lower()).strip("-")
    if len(label) > MAX_SLUG:
        whole_words = label[: MAX_SLUG + 1].rpartition("-")[0]
        label = (whole_words or label[:MAX_SLUG]).strip("-")
    return label or "hub"


def sure_label(hub: HubId) -> str:
    """``hub-<4-character id>``: the host label that is this hub's alone, whatever others are called."""
    return f"hub-{short_hub_id(hub)}"


def host_labels(name: str) -> tuple[str, ...]:
    """The host labels to claim in this order: the slug, then ``<slug>-2`` to ``<slug>-9``."""
    first = slug(name)
    return first, *(f"{first}-{number}" for number in range(2, 2 + SPARE_NAMES))


def host_name(label: str) -> str:
    """The name people type for a host label."""
    return f"{label}.local"


def instance_name(name: str, hub: HubId) -> str:
    """``<place name> <4-character id>``: a service instance name, unique by construction.

    At most 63 bytes of UTF-8, cut between letters. Dots become spaces: they are allowed by RFC 6763
    section 4.1.1, but libraries that write names unescaped take them for the end of a label.
    """
    suffix = f" {short_hub_id(hub)}"
    place = fit(readable(name.replace(".", " ")), MAX_LABEL_BYTES - len(suffix))
    return f"{place or 'Hub'}{suffix}"


def readable(text: str) -> str:
    """``text`` on one line without control characters, direction overrides and half characters."""
    kept = (
        " " if letter.isspace() else letter
        for letter in text
        if (letter.isspace() or unicodedata.category(letter) not in ("Cc", "Cs"))
        and letter not in _DIRECTION_CONTROLS
    )
    return " ".join("".join(kept).split())


def fit(text: str, limit: int) -> str:
    """The longest beginning of ``text`` in at most ``limit`` bytes of UTF-8; no letter loses its marks."""
    raw = text.encode()
    if len(raw) <= limit:
        return text
    kept = raw[: max(limit, 0)].decode(errors="ignore")
    following = text[len(kept)]
    while kept and unicodedata.category(following).startswith("M"):
        kept, following = kept[:-1], kept[-1]
    return kept.rstrip()


@dataclass(frozen=True, slots=True)
class HubHint:
    """What a hub says of itself in its TXT record. A hint for people; identity is proved elsewhere.

    ``fingerprint`` is the beginning of the hub's key in base32, ``name`` what people see (it may be
    cut, or empty), ``version`` the program's. ``sync_port`` is where paired hubs are answered,
    ``protocol`` the lowest and the highest version of the sync protocol spoken there, and
    ``pairing_port`` where a hub that is not paired is answered, while a caretaker holds that open.
    Each of the three is None where it is not told.
    """

    fingerprint: str
    name: str
    version: str
    sync_port: int | None = None
    protocol: tuple[int, int] | None = None
    pairing_port: int | None = None

    def is_of(self, hub: HubId) -> bool:
        """Whether this is said of ``hub``; whether it is said *by* it, only a handshake can tell."""
        return base32(hub).startswith(self.fingerprint)


def hint_of(
    hub: HubId,
    name: str,
    version: str,
    *,
    sync_port: int | None = None,
    protocol: tuple[int, int] | None = None,
    pairing_port: int | None = None,
) -> HubHint:
    """The hint of a hub that is known whole."""
    fingerprint = base32(hub)[:FINGERPRINT_LENGTH]
    return HubHint(fingerprint, readable(name), version, sync_port, protocol, pairing_port)


def build_txt(hint: HubHint) -> dict[bytes, bytes]:
    """The TXT attributes of ``hint`` (RFC 6763 section 6), under 200 bytes in all: the name is cut to fit.

    ``p=1-1`` is the protocol range, ``s=`` the sync port, ``pair=1`` with ``pp=`` an open pairing port.
    """
    version = fit(readable(hint.version), MAX_VERSION).encode()
    attributes = {b"txtvers": b"1", b"id": hint.fingerprint.encode(), b"n": b"", b"v": version}
    if hint.protocol is not None:
        attributes[b"p"] = b"%d-%d" % hint.protocol
    if hint.sync_port is not None:
        attributes[b"s"] = b"%d" % hint.sync_port
    if hint.pairing_port is not None:
        attributes |= {b"pair": b"1", b"pp": b"%d" % hint.pairing_port}
    attributes[b"n"] = fit(readable(hint.name), MAX_TXT_BYTES - txt_size(attributes)).encode()
    return attributes


def txt_size(attributes: Mapping[bytes, bytes]) -> int:
    """Bytes of ``attributes`` in a TXT record: each with its length byte and ``=``."""
    return sum(len(key) + len(value) + 2 for key, value in attributes.items())


def parse_txt(attributes: Mapping[bytes, bytes | None]) -> HubHint | None:
    """The hint in another hub's TXT attributes, or None where they are not a hub's.

    Anyone on the network can send them: names come back readable and no longer than a hub's own may be.
    """
    given: dict[bytes, bytes] = {}
    for key, value in attributes.items():
        given.setdefault(key.lower(), value or b"")  # RFC 6763 section 6.4: case is ignored, the first counts
    fingerprint = given.get(b"id", b"").decode("ascii", errors="replace").lower()
    if given.get(b"txtvers") != b"1" or not SHORTEST_FINGERPRINT <= len(fingerprint) <= FINGERPRINT_LENGTH:
        return None
    if any(letter not in ALPHABET for letter in fingerprint):
        return None
    name = readable(given.get(b"n", b"").decode(errors="replace"))[:MAX_NAME].rstrip()
    version = given.get(b"v", b"").decode("ascii", errors="replace")
    if len(version) > MAX_VERSION or not version.isprintable() or not version.isascii():
        version = ""
    pairing_port = _port(given.get(b"pp", b"")) if given.get(b"pair") == b"1" else None
    return HubHint(
        fingerprint, name, version, _port(given.get(b"s", b"")), _range(given.get(b"p", b"")), pairing_port
    )


def unpack_txt(raw: bytes) -> dict[bytes, bytes | None]:
    """The attributes in the bytes of a TXT record (RFC 6763 section 6): what is cut short is left out."""
    attributes: dict[bytes, bytes | None] = {}
    at = 0
    while at < len(raw):
        end = at + 1 + raw[at]
        key, equals, value = raw[at + 1 : end].partition(b"=")
        if key and end <= len(raw):
            attributes.setdefault(key, value if equals else None)
        at = end
    return attributes


def _port(digits: bytes) -> int | None:
    return int(digits) if _PORT.fullmatch(digits) and 0 < int(digits) <= 65535 else None


def _range(text: bytes) -> tuple[int, int] | None:
    found = _RANGE.fullmatch(text)
    if found is None:
        return None
    low, high = int(found[1]), int(found[2])
    return (low, high) if 0 < low <= high <= MAX_PROTOCOL else None


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """One address of this machine: ``ip`` without scope, on the interface named ``interface``.

    ``prefix`` is the length of its network's prefix in bits, None where the system did not say.
    """

    interface: str
    ip: str
    prefix: int | None = None

    @property
    def parsed(self) -> IpAddress:
        return ipaddress.ip_address(self.ip)

    @property
    def network(self) -> IpNetwork:
        """The addresses that are reached without a router; of usual size where the prefix is not known."""
        usual = 24 if self.parsed.version == 4 else 64
        return ipaddress.ip_network((self.ip, usual if self.prefix is None else self.prefix), strict=False)


def announced_addresses(found: Iterable[LocalAddress]) -> tuple[LocalAddress, ...]:
    """The addresses to announce, at most 8, those most people can use first.

    Never loopback. Private IPv4 first, then other IPv4, then IPv6. A link-local address only where
    its interface has nothing better; containers and tunnels only where there is nothing else at all.
    """
    usable = [each for each in found if not (each.parsed.is_loopback or each.parsed.is_unspecified)]
    settled = {each.interface for each in usable if not each.parsed.is_link_local}
    usable = [each for each in usable if not each.parsed.is_link_local or each.interface not in settled]
    in_sight = [each for each in usable if not _BEHIND_THE_SCENES.match(each.interface)]
    return tuple(sorted(in_sight or usable, key=_closeness)[:MAX_ANNOUNCED])


def printed_addresses(found: Iterable[LocalAddress]) -> tuple[str, ...]:
    """The addresses to show to people, best first: those announced, without IPv6 link-local ones.

    No browser opens ``fe80::…``: it would need the name of the reader's own interface.
    """
    return tuple(
        each.ip
        for each in announced_addresses(found)
        if not (each.parsed.version == 6 and each.parsed.is_link_local)
    )


def _closeness(each: LocalAddress) -> tuple[bool, int]:
    address = each.parsed
    if address.version == 6:
        return address.is_link_local, 2 if address.is_private else 3
    return address.is_link_local, 0 if address.is_private else 1


def multicast_interfaces(found: Sequence[LocalAddress]) -> list[str]:
    """One address a family and interface to send and hear multicast by, for the announced interfaces.

    For IPv6 the link-local one where there is one: it outlives privacy addresses and router changes.
    """
    interfaces = {each.interface for each in announced_addresses(found)}
    chosen: dict[tuple[str, int], str] = {}
    for each in sorted(found, key=lambda each: each.parsed.version == 6 and not each.parsed.is_link_local):
        if each.interface in interfaces and each.ip not in chosen.values():
            chosen.setdefault((each.interface, each.parsed.version), each.ip)
    return sorted(chosen.values())


def prevails(own: Iterable[bytes], foreign: Iterable[bytes]) -> bool:
    """Whether this hub keeps a name that both it and another device have begun to answer for.

    Packed addresses of both. As in RFC 6762 section 8.2 the later data wins, so that both sides come
    to opposite answers: compared are the highest IPv4 addresses, where both have some, else IPv6.
    """
    mine, theirs = set(own), set(foreign)
    for size in (4, 16):
        here = max((each for each in mine if len(each) == size), default=None)
        there = max((each for each in theirs if len(each) == size), default=None)
        if here is not None and there is not None and here != there:
            return here > there
    return False
