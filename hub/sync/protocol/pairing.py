"""How two hubs come to trust each other's keys: six digits that two caretakers compare (docs/protocol.md).

The caller commits itself to a number before it knows the answerer's, and reveals it after: so nobody in
between, who has to be the other hub for each of the two, can choose the numbers that would make both show
the same digits. One guess in a million is left, each time the answerer gives its number away: whoever
drives this state machine counts that (`Stage.ANSWERED`) as an attempt.

The answerer's key is proved by the TLS connection all this goes through, the caller's by its signature
under everything that was said. Nothing is kept before both have accepted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hub.domain import cbor
from hub.domain.certificates import BadCertificate, hub_of
from hub.domain.errors import HubError, Refused
from hub.domain.ids import HubId
from hub.domain.neighbours import MAX_ADDRESSES, Address, Card, card_of
from hub.words import N_

LOWEST, HIGHEST = 1, 1
"""Versions of pairing spoken here."""
NONCE_BYTES = 32
MAX_FRAME = 8 * 1024
_MAX_WORDS = 400
_MAX_STREAMS = 32
_COMMITMENT = b"commhub-pair-commitment-1\0"
_TRANSCRIPT = b"commhub-pair-transcript-1\0"
_DIGITS = b"commhub-pair-digits-1\0"


class _Kind(IntEnum):
    """The first byte of a frame."""

    CALL = 1
    ANSWER = 2
    REVEAL = 3
    VERDICT = 4
    KEPT = 5
    BYE = 6


class Trouble(Refused):
    """Why a pairing came to nothing. ``code`` is what is said to the other hub as well."""

    status = 409


class BadPairing(Trouble):
    """The other side does not keep to the protocol, or is not whose certificate it shows."""

    code = "bad-pairing"
    template = N_(
        "What the other side said was not what a hub says when it is paired. Nothing was shared. "
        "Look whether the address is right, then try again."
    )


class OtherVersion(Trouble):
    """No version of pairing that both speak."""

    code = "pairing-version"
    template = N_(
        "The programs of the two hubs are too far apart in age to be paired. Nothing was shared. "
        "Update the older one, then try again."
    )


class OwnHub(Trouble):
    """A hub called itself."""

    code = "own-hub"
    template = N_("That is the address of this hub itself. Nothing was changed. Type another hub’s.")


class Busy(Trouble):
    """One pairing at a time."""

    code = "pairing-busy"
    template = N_("Another pairing is under way. Nothing was changed. Finish it first, or try again later.")


class TooManyAttempts(Trouble):
    """As many as an hour may have."""

    code = "pairing-attempts"
    status = 429
    template = N_(
        "There have been too many attempts to pair in the last hour. Nothing was shared. "
        "Try again in an hour, or pair with a card on a USB stick."
    )


class Refusal(Trouble):
    """A caretaker said no; this one or the other."""

    code = "pairing-refused"
    template = N_("The pairing was refused. Nothing was shared and nothing was kept.")


class Cut(Trouble):
    """The connection ended before both had accepted."""

    code = "pairing-cut"
    template = N_(
        "The connection ended before both hubs had accepted. Nothing was kept here. "
        "Pair again from the start."
    )


class Expired(Trouble):
    """Nobody accepted in time."""

    code = "pairing-expired"
    template = N_(
        "Nobody accepted in time. Nothing was shared and nothing was kept. Pair again when both can."
    )


class Unconfirmed(Trouble):
    """Both accepted and this hub kept the other; whether the other kept this one is not known."""

    code = "pairing-unconfirmed"
    template = N_(
        "This hub is paired, but the connection ended before the other one said so as well. "
        "If the other one does not list this hub as a neighbour, pair again: that puts it right."
    )


class Failed(Trouble):
    """The other hub could not keep what was agreed, or gave a reason nobody here knows."""

    code = "pairing-failed"
    template = N_("The other hub ended the pairing. Nothing was kept here. Pair again from the start.")


_REASONS = (BadPairing, OtherVersion, OwnHub, Busy, TooManyAttempts, Refusal, Expired)
"""Those that another hub may give."""


class Stage(StrEnum):
    """How far it has come."""

    BEGUN = "begun"
    """The caller waits for an answer, the answerer for a call."""
    ANSWERED = "answered"
    """The answerer has given its number away and waits for the caller's."""
    COMPARING = "comparing"
    """Digits are shown; each caretaker says yes or no, in any order."""
    AGREED = "agreed"
    """Both have said yes."""
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Say:
    """Send this frame."""

    frame: bytes


@dataclass(frozen=True, slots=True)
class Keep:
    """Both have accepted: store ``card``, then call `Pairing.kept`. The hub listens at ``port``."""

    card: Card
    port: int


@dataclass(frozen=True, slots=True)
class Over:
    """It has ended: well if ``trouble`` is None. Nothing follows, nothing is taken any more."""

    trouble: HubError | None


Effect = Say | Keep | Over


class Pairing:
    """One pairing on one of its two sides. Gives effects to be carried out in order; never raises for
    what the other side says."""

    def __init__(
        self,
        me: Card,
        port: int,
        nonce: bytes,
        sign: Callable[[bytes], bytes],
        their_certificate: bytes | None = None,
    ) -> None:
        """``me`` is what the other is told, ``port`` where this hub listens for neighbours; ``nonce`` are
        32 bytes of chance, never used before, and ``sign`` is the hub key's Ed25519.

        The caller has ``their_certificate`` (DER) from the TLS handshake; the answerer has none.
        """
        self._me = me
        self._port = port
        self._nonce = nonce
        self._sign = sign
        self._theirs = their_certificate or b""
        self._calls = their_certificate is not None
        self._transcript = hashlib.sha256(_TRANSCRIPT)
        self._commitment = b""
        self._their_nonce = b""
        self._their_port = 0
        self._kept_here = False
        self._kept_there = False
        self.stage = Stage.BEGUN
        self.card: Card | None = None
        """What the other says of itself, once it has; proved to be its own from `Stage.COMPARING` on."""
        self.digits = ""
        self.accepted = False
        self.accepted_there = False

    def begin(self) -> list[Effect]:
        """The caller's first frame; nothing for the answerer."""
        if not self._calls:
            return []
        try:
            them = hub_of(self._theirs)
        except BadCertificate as error:
            return self._end(error)
        if them == self._me.hub:
            return self._end(OwnHub())
        committed = _committed(self._nonce, self._me.hub, them)
        said = {1: LOWEST, 2: HIGHEST, 3: self._me.certificate, **self._introduction(), 9: committed}
        return [self._say_on_record(_Kind.CALL, said)]

    def receive(self, frame: bytes) -> list[Effect]:
        """What follows from a frame of the other side."""
        if self.stage is Stage.OVER:
            return []
        try:
            return self._receive(frame)
        except Trouble as error:
            return self._end(error, aloud=True)
        except (BadCertificate, cbor.NotCanonical, ValueError, KeyError, TypeError):
            return self._end(BadPairing(), aloud=True)

    def accept(self) -> list[Effect]:
        """The caretaker here says that the digits are the same."""
        if self.stage is not Stage.COMPARING or self.accepted:
            return []
        self.accepted = True
        return [Say(_frame(_Kind.VERDICT, True)), *self._agreed()]

    def refuse(self) -> list[Effect]:
        """The caretaker here says no."""
        if self.stage is Stage.COMPARING:
            return [Say(_frame(_Kind.VERDICT, False)), *self._end(Refusal())]
        return self.stop(Refusal())

    def stop(self, trouble: HubError) -> list[Effect]:
        """End it for a reason of this side; nothing happens once both have agreed."""
        return [] if self.stage in (Stage.AGREED, Stage.OVER) else self._end(trouble, aloud=True)

    def kept(self) -> list[Effect]:
        """What `Keep` asked for is done."""
        if self.stage is not Stage.AGREED:
            return []
        self._kept_here = True
        return [Say(_frame(_Kind.KEPT)), *self._concluded()]

    def not_kept(self, trouble: HubError) -> list[Effect]:
        """What `Keep` asked for could not be done."""
        return self._end(trouble, aloud=True)

    def lost(self) -> list[Effect]:
        """The connection has ended."""
        if self.stage is Stage.OVER:
            return []
        return self._end(Cut())

    def _receive(self, frame: bytes) -> list[Effect]:
        if not frame or len(frame) > MAX_FRAME:
            raise BadPairing
        kind, said = frame[0], cbor.decode(frame[1:]) if len(frame) > 1 else None
        if kind == _Kind.BYE:
            given = (reason for reason in _REASONS if reason.code == said)
            return self._end(next(given, Failed)())
        match kind, self.stage:
            case (_Kind.CALL, Stage.BEGUN) if not self._calls:
                return self._called(frame, said)
            case (_Kind.ANSWER, Stage.BEGUN) if self._calls:
                return self._answered(frame, said)
            case (_Kind.REVEAL, Stage.ANSWERED):
                return self._revealed(said)
            case (_Kind.VERDICT, Stage.COMPARING) if not self.accepted_there and isinstance(said, bool):
                if not said:
                    return self._end(Refusal())
                self.accepted_there = True
                return self._agreed()
            case (_Kind.KEPT, Stage.AGREED) if len(frame) == 1 and not self._kept_there:
                self._kept_there = True
                return self._concluded()
        raise BadPairing

    def _called(self, frame: bytes, said: Any) -> list[Effect]:
        lowest, highest = cbor.whole(_map(said)[1]), cbor.whole(said[2])
        if not lowest <= HIGHEST or not highest >= LOWEST:
            raise OtherVersion
        self._theirs = _octets(said[3])
        if hub_of(self._theirs) == self._me.hub:
            raise OwnHub
        self.card = self._introduced(said)
        self._commitment = cbor.octets(said[9], 32)
        self._transcript.update(hashlib.sha256(frame).digest())
        self.stage = Stage.ANSWERED
        version = min(highest, HIGHEST)
        return [self._say_on_record(_Kind.ANSWER, {1: version, **self._introduction(), 9: self._nonce})]

    def _answered(self, frame: bytes, said: Any) -> list[Effect]:
        if not LOWEST <= cbor.whole(_map(said)[1]) <= HIGHEST:
            raise OtherVersion
        self.card = self._introduced(said)
        self._their_nonce = cbor.octets(said[9], NONCE_BYTES)
        self._transcript.update(hashlib.sha256(frame).digest())
        self._compare()
        return [Say(_frame(_Kind.REVEAL, [self._nonce, self._sign(self._to_sign(self._nonce))]))]

    def _revealed(self, said: Any) -> list[Effect]:
        if not isinstance(said, list):
            raise BadPairing
        nonce, signature = said
        them = hub_of(self._theirs)
        self._their_nonce = cbor.octets(nonce, NONCE_BYTES)
        if _committed(self._their_nonce, them, self._me.hub) != self._commitment:
            raise BadPairing
        try:
            key = Ed25519PublicKey.from_public_bytes(them)
            key.verify(cbor.octets(signature, 64), self._to_sign(self._their_nonce))
        except InvalidSignature as error:
            raise BadPairing from error
        self._compare()
        return []

    def _compare(self) -> None:
        own, other = (self._me.certificate, self._nonce), (self._theirs, self._their_nonce)
        caller, answerer = (own, other) if self._calls else (other, own)
        self.digits = digits(caller[0], answerer[0], caller[1], answerer[1])
        self.stage = Stage.COMPARING

    def _agreed(self) -> list[Effect]:
        if not (self.accepted and self.accepted_there) or self.card is None:
            return []
        self.stage = Stage.AGREED
        return [Keep(self.card, self._their_port)]

    def _concluded(self) -> list[Effect]:
        if not (self._kept_here and self._kept_there):
            return []
        self.stage = Stage.OVER
        return [Over(None)]

    def _end(self, trouble: HubError, *, aloud: bool = False) -> list[Effect]:
        self.stage = Stage.OVER
        over = Over(Unconfirmed() if self._kept_here else trouble)
        return [Say(_frame(_Kind.BYE, trouble.code)), over] if aloud else [over]

    def _say_on_record(self, kind: _Kind, said: object) -> Say:
        frame = _frame(kind, said)
        self._transcript.update(hashlib.sha256(frame).digest())
        return Say(frame)

    def _to_sign(self, nonce: bytes) -> bytes:
        """What the caller signs: call and answer, and its number, which opens the commitment to both ids."""
        whole = self._transcript.copy()
        whole.update(nonce)
        return _TRANSCRIPT + whole.digest()

    def _introduction(self) -> dict[int, object]:
        return {
            4: self._me.name,
            5: self._me.colour,
            6: self._port,
            7: [[host, port] for host, port in self._me.addresses[:MAX_ADDRESSES]],
            8: [[stream, str(self._me.choices[stream])] for stream in sorted(self._me.choices)],
        }

    def _introduced(self, said: dict[int, Any]) -> Card:
        """What the other says of itself; raises ValueError, KeyError, TypeError or `HubError`."""
        addresses, choices = said[7], said[8]
        if not isinstance(addresses, list) or not isinstance(choices, list):
            raise TypeError
        if len(addresses) > MAX_ADDRESSES or len(choices) > _MAX_STREAMS:
            raise BadPairing
        self._their_port = cbor.whole(said[6])
        return card_of(
            self._theirs,
            _words(said[4]),
            _words(said[5]),
            [Address(_words(host), cbor.whole(port)) for host, port in addresses],
            {_words(stream): _words(choice) for stream, choice in choices},
        )


def digits(caller: bytes, answerer: bytes, caller_nonce: bytes, answerer_nonce: bytes) -> str:
    """The six digits both show; the first two are the certificates (DER). Raises `BadCertificate`."""
    hashed = hashlib.sha256(_DIGITS + hub_of(caller) + hub_of(answerer))
    hashed.update(hashlib.sha256(caller).digest() + hashlib.sha256(answerer).digest())
    hashed.update(caller_nonce + answerer_nonce)
    return f"{int.from_bytes(hashed.digest(), 'big') % 1_000_000:06}"


def _committed(nonce: bytes, caller: HubId, answerer: HubId) -> bytes:
    return hashlib.sha256(_COMMITMENT + nonce + caller + answerer).digest()


def _frame(kind: _Kind, said: object = None) -> bytes:
    return bytes((kind,)) + (b"" if said is None else cbor.encode(said))


def _map(value: Any) -> dict[int, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _octets(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError
    return value


def _words(value: Any) -> str:
    text = cbor.label(value)
    if len(text.encode()) > _MAX_WORDS:
        raise ValueError
    return text
