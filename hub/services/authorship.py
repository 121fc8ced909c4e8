"""Who writes, and whose things are whose: devices, take-down phrases, limits, one-time keys of forms.

What residents do with notices, files and reports all passes through here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from hub.domain.errors import NotFound
from hub.domain.ids import ObjectId
from hub.domain.notices import State
from hub.domain.policy import (
    DAY_MS,
    MINUTE_MS,
    BoardPolicy,
    NotYours,
    TooLate,
    Writer,
    WrongPhrase,
    must_be_held,
    refuse_restrained,
)
from hub.services.identity import Identity
from hub.services.limits import Gate
from hub.services.publishing import restore, withdraw
from hub.storage import authors, journal, moderation, retention, traces
from hub.storage.database import Connection
from hub.storage.journal import Pen
from hub.storage.projections import refresh
from hub.words.phrases import make_phrase, normalise


@dataclass(frozen=True, slots=True)
class Asker:
    """Who is asking: the device cookie's value or None, the address for limits, the phrase if typed."""

    cookie: str | None = None
    address: str = ""
    phrase: str = ""


class Authorship:
    """Functions that take a connection run in the caller's transaction."""

    def __init__(
        self,
        identity: Identity,
        gate: Gate,
        pen: Callable[[], Pen],
        chance: Callable[[int], bytes],
        policy: Callable[[], BoardPolicy],
    ) -> None:
        self._identity = identity
        self._gate = gate
        self._pen = pen
        self._chance = chance
        self._policy = policy

    # --- being admitted ---------------------------------------------------------------------------

    def slow_down(self, asker: Asker) -> None:
        """Apply the limits of writing; raises `TryLater`."""
        policy = self._policy()
        draws: list[tuple[str, object, object]] = [("address", asker.address, policy.per_address)]
        if asker.cookie:
            draws.append(("device", asker.cookie, policy.per_device))
        self._gate.pass_or_raise(*draws, ("hub", "", policy.whole_hub))  # type: ignore[arg-type]

    def admit(self, asker: Asker) -> str:
        """Apply the limits; the cookie the device has, or a fresh one."""
        self.slow_down(asker)
        return asker.cookie or self.fresh_cookie()

    def fresh_cookie(self) -> str:
        """A cookie for a device that has none."""
        return self._chance(16).hex()

    def meet(self, connection: Connection, cookie: str) -> authors.Device:
        """The device of that cookie, added if it is new; raises `TryLater` when many begin at once."""
        device = self.device_hash(cookie)
        assert device is not None  # noqa: S101 - a cookie always has a hash
        known = authors.device(connection, device)
        if known is not None:
            return known
        self._gate.pass_or_raise(("new-device", "", self._policy().new_devices))
        mark = "-".join(make_phrase(self._chance(5)).split()[:2])
        return authors.meet(connection, device, mark, self._pen().now_ms // DAY_MS)

    def must_wait(self, device: authors.Device | None) -> bool:
        """Whether what the device writes now waits for a caretaker.

        Raises `PostingPaused` and `DevicePaused` when it may not be written at all.
        """
        return must_be_held(self._policy(), _writer(device), self._pen().now_ms)

    # --- whose something is -----------------------------------------------------------------------

    def device_hash(self, cookie: str | None) -> bytes | None:
        """What stands for a device in the database."""
        return self._identity.veil("device", cookie.encode()) if cookie else None

    def fresh_phrase(self) -> str:
        """Four words that only their author gets to see."""
        return make_phrase(self._chance(5))

    def own(self, connection: Connection, obj: ObjectId, device: bytes | None, phrase: str) -> None:
        """Note whose ``obj`` is."""
        authors.own(connection, obj, device, self._phrase_hash(phrase))

    def mine(self, connection: Connection, cookie: str | None) -> frozenset[ObjectId]:
        """Everything the device has written that is still known to be its own."""
        device = self.device_hash(cookie)
        return frozenset(authors.objects_of_device(connection, device)) if device else frozenset()

    def require_owner(self, connection: Connection, obj: ObjectId, asker: Asker) -> authors.Device | None:
        """The author's device, if the asker's own or the phrase shows that ``obj`` is theirs.

        Raises `NotYours`. A phrase stands for the device it was given to, pauses and bans included.
        """
        owner = authors.owner(connection, obj)
        device = self.device_hash(asker.cookie)
        if owner is None:
            raise NotYours
        if device is not None and owner.device == device:
            return authors.device(connection, device)
        if not asker.phrase.strip():
            raise NotYours
        self._gate.pass_or_raise(("phrase", asker.address, self._policy().phrase_tries))
        if owner.phrase is None or self._phrase_hash(asker.phrase) != owner.phrase:
            raise WrongPhrase
        return authors.device(connection, owner.device) if owner.device else None

    def require_writer(self, connection: Connection, obj: ObjectId, asker: Asker) -> None:
        """As `require_owner`, and the device may write now; raises `DevicePaused`."""
        device = self.require_owner(connection, obj, asker)
        refuse_restrained(_writer(device), self._pen().now_ms)

    def object_of(self, connection: Connection, form_key: str) -> tuple[ObjectId, bool]:
        """The id of what the form of this one-time key makes, and whether it has made it already.

        The id follows from the key, so that a form sent twice meets itself without an index of keys. What
        was erased keeps its id: the same form sent again after that makes something new.
        """
        if not form_key:
            return ObjectId(self._chance(16)), False
        for erased in count():
            obj = ObjectId(self._identity.veil("object", f"{erased} {form_key}".encode()))
            if authors.owner(connection, obj) is not None:
                return obj, True
            if not journal.has(connection, obj):
                return obj, False
        raise AssertionError("count() does not end")

    # --- taking down and putting back -------------------------------------------------------------

    def take_down(self, connection: Connection, obj: ObjectId, asker: Asker) -> None:
        """Take something of one's own down; what still waits for a caretaker is simply dropped.

        Raises `NotYours`.
        """
        self.require_owner(connection, obj, asker)
        held = moderation.held(connection, obj)
        if held is not None:
            traces.leave(connection, traces.NOW, retention.blobs_held(held))
            moderation.release(connection, obj)
        if not journal.has(connection, obj):
            authors.disown(connection, obj)
            return
        withdraw(connection, self._pen(), obj)

    def put_back(self, connection: Connection, obj: ObjectId, asker: Asker) -> None:
        """Put back what was taken down within the last ``undo_minutes``.

        Raises `NotYours`, `DevicePaused`, `TooLate`, `NotFound`.
        """
        self.require_writer(connection, obj, asker)
        standing = refresh(connection, obj)
        if standing is None:
            raise NotFound
        if standing.state is State.LIVE:
            return
        pen = self._pen()
        late = pen.now_ms - standing.changed_ms > self._policy().undo_minutes * MINUTE_MS
        if standing.state is State.ERASED or late:
            raise TooLate
        restore(connection, pen, obj)

    def _phrase_hash(self, phrase: str) -> bytes:
        return self._identity.veil("phrase", normalise(phrase).encode())


def _writer(device: authors.Device | None) -> Writer:
    if device is None:
        return Writer()
    return Writer(device.shown, device.trusted, device.paused_until_ms, device.banned_until_ms)
