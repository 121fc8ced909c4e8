"""The card of a hub as a file: how two hubs pair that no network joins (sync.md 2.8, "offline pairing").

The hub that it is about signed it, and its certificate says which that is. So only the hub's id has to be
compared: as nine words that one caretaker reads out and the other types. 1,024 words make ten bits each;
it would take 2**90 keys to find another hub with the same nine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hub.domain import cbor
from hub.domain.certificates import BadCertificate
from hub.domain.errors import Refused
from hub.domain.ids import HubId, base32
from hub.domain.neighbours import MAX_ADDRESSES, Address, Card, card_of
from hub.domain.sharing import DEFAULT_CHOICES
from hub.words import N_
from hub.words.phrases import WORDS, normalise

FORMAT = 1
MAGIC = b"COMMCARD"
MAX_CARD = 16 * 1024
SUFFIX = ".hubcard"
WORD_COUNT = 9
SHORT_NAME = 8
"""Characters of a hub's id in the names of its files on a stick."""
_WORD_BITS = 10
_CONTEXT = b"commhub-card-1\0"
_WORDS_CONTEXT = b"commhub-words-1\0"
_SIGNATURE_BYTES = 64


class BadCardFile(Refused):
    """A file that is no card, or not the one its hub wrote."""

    code = "bad-card-file"
    status = 422
    template = N_("This is not a hub’s card, or it is damaged. Nothing was changed. Carry a new one.")


class OtherWords(Refused):
    """The words that were typed are not those of the card."""

    code = "other-words"
    status = 422
    template = N_(
        "These are not the words of this card. Nothing was changed. Have them read out again by the "
        "caretaker of the other hub; if they still differ, the card was changed on its way."
    )


class HubCard(NamedTuple):
    """A card, and when its hub wrote it (Unix ms, by its clock)."""

    card: Card
    made_ms: int


def encode_card(card: Card, made_ms: int, sign: Callable[[bytes], bytes]) -> bytes:
    """The file for ``card``, which is this hub's own, signed by its key."""
    data = cbor.encode(
        {
            1: FORMAT,
            2: card.certificate,
            3: card.name,
            4: card.colour,
            5: [[address.host, address.port] for address in card.addresses[:MAX_ADDRESSES]],
            6: made_ms,
        }
    )
    return MAGIC + data + sign(_CONTEXT + data)


def read_card(data: bytes) -> HubCard:
    """The card in a file, its words cleaned; raises `BadCardFile`.

    Such a hub's choices are taken to be the usual ones until it tells them itself.
    """
    stated, signature = data[len(MAGIC) : -_SIGNATURE_BYTES], data[-_SIGNATURE_BYTES:]
    if len(data) > MAX_CARD or not data.startswith(MAGIC):
        raise BadCardFile
    try:
        fields = cbor.decode(stated)
        if not isinstance(fields, dict) or cbor.whole(fields[1]) != FORMAT:
            raise BadCardFile
        addresses = [Address(cbor.label(host), cbor.whole(port)) for host, port in fields[5]]
        card = card_of(fields[2], cbor.label(fields[3]), cbor.label(fields[4]), addresses, DEFAULT_CHOICES)
        Ed25519PublicKey.from_public_bytes(card.hub).verify(signature, _CONTEXT + stated)
        return HubCard(card, cbor.whole(fields[6]))
    except (
        InvalidSignature,
        LookupError,
        ValueError,
        TypeError,
        cbor.NotCanonical,
        BadCertificate,
    ) as error:
        raise BadCardFile from error


def words_of(hub: HubId) -> str:
    """The nine words that stand for a hub's id, in lower case with a space between them."""
    digest = hashlib.sha256(_WORDS_CONTEXT + hub).digest()
    number = int.from_bytes(digest, "big") >> 8 * len(digest) - WORD_COUNT * _WORD_BITS
    places = range(_WORD_BITS * (WORD_COUNT - 1), -1, -_WORD_BITS)
    return " ".join(WORDS[number >> place & (1 << _WORD_BITS) - 1] for place in places)


def require_words(hub: HubId, typed: str) -> None:
    """Raise `OtherWords` unless ``typed`` are the words of ``hub``, however they were typed."""
    if normalise(typed) != words_of(hub):
        raise OtherWords


def short_name(hub: HubId) -> str:
    """How the names of a hub's files on a stick begin."""
    return base32(hub)[:SHORT_NAME]
