"""The hubs this one is paired with, what caretakers agreed with each, and what is known of others.

What lives above the services (the sockets, mDNS) is handed in through the ports at the top; a hub that
runs without it has `Alone` in their place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Protocol

from hub.domain.clock import TimeQuality
from hub.domain.errors import NotFound, Refused
from hub.domain.folding import fold
from hub.domain.ids import HubId, ObjectId, base32, canonical_letters
from hub.domain.ledger import Act, Role
from hub.domain.neighbours import (
    CHOSEN_STREAMS,
    PAIRING_PORT,
    PINNED,
    Address,
    Card,
    Learnt,
    Neighbour,
    Tie,
    callable_addresses,
    parse_address,
    shown_colour,
    shown_name,
    shown_version,
    told_apart,
)
from hub.domain.records import Stream
from hub.domain.sharing import DEFAULT_CHOICES, Choice, Choices
from hub.domain.timekeeping import ClockReading
from hub.services.erasure import Eraser
from hub.storage import arrivals, decisions, neighbours, retention
from hub.storage.database import Connection, Database
from hub.words import N_

SHORTEST_ID = 4
"""Characters of a hub's id that stand for it where a name is asked for."""
BATCH = 100
"""Objects erased in one transaction: what residents write meanwhile waits for no more than one."""


class Step(StrEnum):
    """How far a pairing has come. Each side goes through ``open`` or ``calling``, then the same steps."""

    CLOSED = "closed"
    """Nobody is pairing."""
    OPEN = "open"
    """This hub waits for another one to call until ``until_ms``."""
    CALLING = "calling"
    """This hub called another one and does not know its key yet."""
    COMPARING = "comparing"
    """Both show the same digits, or somebody is in between: a caretaker has to say."""
    ACCEPTED = "accepted"
    """The caretaker here has accepted; the one there has not yet."""
    PAIRED = "paired"
    """Both have. `Neighbours.add` was called."""
    FAILED = "failed"
    """It came to nothing: ``trouble`` says why."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How the present or last pairing stands.

    ``digits`` are six of them while they are to be compared, else empty; ``hub``, ``name`` and
    ``choices`` are the other's as it says, None and empty while it is not known. ``until_ms`` (Unix) is
    when it ends by itself, 0 for never. ``trouble`` is the code of what went wrong and ``sentence`` the
    same in English.
    """

    step: Step = Step.CLOSED
    digits: str = ""
    hub: HubId | None = None
    name: str = ""
    choices: Choices | None = None
    until_ms: int = 0
    trouble: str = ""
    sentence: str = ""


class Pairing(Protocol):
    """Pairing over the network. All of it may raise a `HubError` that says what to do."""

    async def open(self, minutes: int) -> Standing:
        """Let any one hub call this one for that long; the attempts are limited."""

    async def close(self) -> None:
        """Let nobody call any more, and drop a pairing that is under way."""

    async def begin(self, address: Address) -> Standing:
        """Call the hub at ``address``; answers once the digits can be compared."""

    def standing(self) -> Standing:
        """How it stands."""

    async def accept(self) -> Standing:
        """The digits are the same."""

    async def refuse(self) -> Standing:
        """They are not, or this was not meant."""


@dataclass(frozen=True, slots=True)
class Live:
    """How the exchange with a neighbour stands now: ``to_go`` records have still to come or go.

    ``trouble`` is the code of the last error since both last held the same, and ``sentence`` the same
    in English.
    """

    connected: bool = False
    to_go: int = 0
    trouble: str = ""
    sentence: str = ""


class Swapping(Protocol):
    """The exchange with paired hubs, as it runs."""

    async def sync_now(self, hub: HubId) -> None:
        """Compare with ``hub`` now: on the open connection, or after trying every address it has.

        Returns once both hold the same, or that failed; `live` then says why.
        """

    async def forget(self, hub: HubId) -> None:
        """Close every connection with ``hub`` at once. Whether another is opened, and what is exchanged on
        it, the roster says anew (`Neighbours.pins` and `Neighbours.show`)."""

    def live(self, hub: HubId) -> Live:
        """How it stands."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A hub that was noticed on the network, as it says of itself: a hint, not proved by anything.

    ``fingerprint`` is the beginning of its id in base32 (16 to 26 characters); ``how`` is heard or swept.
    """

    fingerprint: str
    name: str
    version: str
    addresses: tuple[Address, ...]
    seen_ms: int
    how: str = "heard"


class Sightings(Protocol):
    """Hubs on this network, paired or not."""

    def seen(self) -> Sequence[Sighting]:
        """Those that were heard lately, without this hub."""

    async def sweep(self) -> Sequence[Sighting]:
        """Ask every address of this hub's own /24 networks. Takes up to a minute."""


class NeighboursOff(Refused):
    """The hub runs without the part that talks to others."""

    code = "neighbours-off"
    status = 409
    template = N_(
        "This hub does not talk to other hubs. Nothing was changed. "
        "Its settings for neighbours say why: look at them with “hub settings show”."
    )


class Alone:
    """All three ports of a hub that talks to no other."""

    async def open(self, minutes: int) -> Standing:
        """Refused."""
        raise NeighboursOff

    async def close(self) -> None:
        """Nothing is open."""

    async def begin(self, address: Address) -> Standing:
        """Refused."""
        raise NeighboursOff

    def standing(self) -> Standing:
        """Nobody is pairing."""
        return Standing()

    async def accept(self) -> Standing:
        """Refused."""
        raise NeighboursOff

    async def refuse(self) -> Standing:
        """Nobody is pairing."""
        return Standing()

    async def sync_now(self, hub: HubId) -> None:
        """Refused."""
        raise NeighboursOff

    async def forget(self, hub: HubId) -> None:
        """There are no connections."""

    def live(self, hub: HubId) -> Live:
        """There are no connections."""
        return Live()

    def seen(self) -> Sequence[Sighting]:
        """Nobody was heard."""
        return ()

    async def sweep(self) -> Sequence[Sighting]:
        """Refused."""
        raise NeighboursOff


class NoSuchNeighbour(NotFound):
    """No neighbour is called that."""

    code = "no-such-neighbour"
    template = N_("No neighbour here is called “{typed}”. Nothing was changed. Look them up in the list.")


class AmbiguousNeighbour(Refused):
    """Several are."""

    code = "ambiguous-neighbour"
    status = 409
    template = N_(
        "More than one neighbour is called “{typed}”. Nothing was changed. "
        "Type the four letters or numbers that stand behind its name."
    )


class NotPaired(Refused):
    """The hub is no longer paired."""

    code = "not-paired"
    status = 409
    template = N_("{hub} is no longer paired with this hub. Nothing was changed. Pair with it again first.")


class NeighbourPaused(Refused):
    """Swapping is paused by a caretaker."""

    code = "neighbour-paused"
    status = 409
    template = N_("Swapping with {hub} is paused, so nothing was asked for. Let it go on first.")


class OwnCard(Refused):
    """The card is this hub's own."""

    code = "own-card"
    status = 409
    template = N_("This is the card of this hub itself. Nothing was changed. Take it to the other hub.")


class BadStream(Refused):
    """Something that is not chosen for neighbours."""

    code = "bad-stream"
    status = 422
    template = N_(
        "Choose for one of: {streams}. Nothing was changed. "
        "What hubs say of themselves and of what they erased is always exchanged."
    )


class NoFork(Refused):
    """Nothing waits to be decided about the hub."""

    code = "no-fork"
    status = 409
    template = N_("Nothing has to be decided about “{typed}”. Nothing was changed.")


class NothingHeld(Refused):
    """No hub, or more than one, of which something waits is called that."""

    code = "nothing-held"
    status = 409
    template = N_(
        "Nothing of “{typed}” waits for you, or more than one hub is meant. Nothing was changed. "
        "Look them up with “hub neighbours held” and type the letters that stand behind the name."
    )


class Verdict(StrEnum):
    """Why two hubs write with one key, as a caretaker found out."""

    MOVED = "moved"
    """It is one hub that moved to another machine: what both wrote is taken."""
    NEW = "new"
    """It is a copy beside the hub: nothing more is taken from either until one is set up anew."""


@dataclass(frozen=True, slots=True)
class Fork:
    """A hub with whose key two hubs write, since ``seen_ms``; what they write waits."""

    hub: HubId
    name: str
    seen_ms: int


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a neighbour says when a session begins; foreign words, cleaned here.

    ``steady_ms`` is its clock less our clock that only runs forward, None before they were compared.
    ``quality`` is how far it trusts its own.
    """

    name: str
    colour: str
    version: str
    protocol: int
    choices: Choices
    addresses: tuple[Address, ...] = ()
    quality: TimeQuality = TimeQuality.UNKNOWN
    steady_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """A neighbour, its name told apart from others, and how the exchange stands."""

    neighbour: Neighbour
    live: Live


@dataclass(frozen=True, slots=True)
class Seen:
    """A hub on this network. ``neighbour`` is whose id it claims; ``namesake``: another hub known here, or
    this one, has the same name."""

    sighting: Sighting
    neighbour: Neighbour | None
    namesake: bool


class Neighbours:
    """The roster, and what caretakers do with it. Acts leave an audit line (``actor`` is the local user);
    pairing and parting leave one in the public ledger."""

    def __init__(
        self,
        database: Database,
        eraser: Eraser,
        hub: HubId,
        name: Callable[[], str],
        now_ms: Callable[[], int],
        heed: Callable[[HubId, ClockReading | None], int | None] = lambda _hub, _reading: None,
    ) -> None:
        self._database = database
        self._eraser = eraser
        self._hub = hub
        self._name = name
        self._now_ms = now_ms
        self._heed = heed
        self._pairing: Pairing = Alone()
        self._swapping: Swapping = Alone()
        self._sightings: Sightings = Alone()
        self._agreed: tuple[str, Choices] | None = None

    def join(self, pairing: Pairing, swapping: Swapping, sightings: Sightings) -> None:
        """From now on there is a network."""
        self._pairing, self._swapping, self._sightings = pairing, swapping, sightings

    # --- looking ----------------------------------------------------------------------------------

    async def every(self) -> list[Known]:
        """All that are or were paired, by name."""
        return [self._known(each) for each in await self._database.read_with(self._all)]

    async def show(self, name: str) -> Known:
        """The neighbour that is called, or whose id begins with, ``name``.

        Raises `NoSuchNeighbour`, `AmbiguousNeighbour`.
        """
        return self._known(await self._find(name))

    async def discovered(self) -> list[Seen]:
        """Hubs that were noticed on this network."""
        return await self._recognised(self._sightings.seen())

    async def sweep(self, actor: str) -> list[Seen]:
        """Ask every address of this hub's own networks; takes up to a minute."""
        await self._note(actor, "sweep", "")
        return await self._recognised(await self._sightings.sweep())

    # --- pairing ----------------------------------------------------------------------------------

    async def open(self, minutes: int, actor: str) -> Standing:
        """Let another hub call this one to pair."""
        await self._note(actor, "open pairing", "")
        return await self._pairing.open(minutes)

    async def begin(self, typed: str, actor: str) -> Standing:
        """Call the hub at an address a person typed; answers with the digits to compare.

        Raises `BadAddress`, and whatever keeps the two from talking.
        """
        address = parse_address(typed, PAIRING_PORT)
        await self._note(actor, "pair", str(address))
        return await self._pairing.begin(address)

    def standing(self) -> Standing:
        """How pairing stands."""
        return self._pairing.standing()

    async def accept(self, actor: str, choices: Mapping[str, Choice] | None = None) -> Standing:
        """The digits are the same on both hubs. ``choices`` for streams that are not to be just exchanged."""
        self._agreed = actor, _with(DEFAULT_CHOICES, choices or {})
        return await self._pairing.accept()

    async def accept_card(
        self, card: Card, actor: str, choices: Mapping[str, Choice] | None = None
    ) -> Neighbour:
        """A card came by stick, and its words are those that the other caretaker read out.

        Only this side is paired by it: the other hub needs this one's card. Raises `OwnCard`.
        """
        if card.hub == self._hub:
            raise OwnCard
        self._agreed = actor, _with(DEFAULT_CHOICES, choices or {})
        await self.add(card)
        await self._swapping.forget(card.hub)
        return await self._find(base32(card.hub))

    async def refuse(self, actor: str) -> Standing:
        """They are not, or nobody meant to pair."""
        await self._note(actor, "refuse pairing", "")
        return await self._pairing.refuse()

    async def add(self, card: Card) -> None:
        """Both caretakers have accepted: from now on the two are neighbours.

        With a hub that was removed before, what it wrote may come anew.
        """
        actor, choices = self._agreed or ("", DEFAULT_CHOICES)
        self._agreed = None
        before = await self._database.read_with(lambda connection: neighbours.find(connection, card.hub))
        stubs = []
        if before is not None and before.tie not in PINNED:
            stubs = await self._database.read_with(
                lambda connection: neighbours.stubs_of(connection, card.hub)
            )
        now = self._now_ms()

        def write(connection: Connection) -> None:
            for obj in stubs:
                retention.drop(connection, obj)
            neighbours.add(connection, card, choices, now)
            name = told_apart(self._names(connection), self._name())[card.hub]
            decisions.decide(connection, now, Act.PAIR, "", Role.CARETAKER, "hub", name)
            decisions.note(connection, now, actor, "paired", base32(card.hub)[:26])

        await self._database.write(write)

    # --- deciding ---------------------------------------------------------------------------------

    async def choose(self, name: str, stream: str, choice: Choice, actor: str) -> Neighbour:
        """What becomes of ``stream`` between this hub and a neighbour. Raises `BadStream`, `NotPaired`."""
        found = await self._paired(name)
        choices = _with(found.choices, {stream: choice})
        await self._change(
            lambda connection: neighbours.choose(connection, found.hub, choices),
            actor,
            f"choose {stream} {choice}",
            found,
        )
        await self._swapping.forget(found.hub)
        return replace(found, choices=choices)

    async def pause(self, name: str, actor: str) -> Neighbour:
        """Swap nothing with a neighbour until it is let go on. Raises `NotPaired`."""
        found = await self._tied(name, Tie.PAUSED, "pause", actor)
        await self._swapping.forget(found.hub)
        return found

    async def resume(self, name: str, actor: str) -> Neighbour:
        """Swap again with a paused neighbour. Raises `NotPaired`."""
        found = await self._tied(name, Tie.PAIRED, "resume", actor)
        await self._swapping.forget(found.hub)
        return found

    async def sync(self, name: str = "") -> list[Known]:
        """Compare with one neighbour now, or with all that are not paused; the answer says how it went.

        Raises `NeighbourPaused`, `NotPaired`. A neighbour that cannot be reached is no error: its line
        says so.
        """
        if name:
            chosen = [await self._paired(name)]
            if chosen[0].tie is Tie.PAUSED:
                raise NeighbourPaused(hub=chosen[0].name)
        else:
            chosen = [each for each in await self._database.read_with(self._all) if each.tie is Tie.PAIRED]
        for each in chosen:
            await self._swapping.sync_now(each.hub)
        hubs = {each.hub for each in chosen}
        return [known for known in await self.every() if known.neighbour.hub in hubs]

    async def remember(self, name: str, typed: str, actor: str) -> Address:
        """A neighbour can also be called at an address a person typed. Raises `BadAddress`, `NotPaired`."""
        address = parse_address(typed)
        found = await self._paired(name)
        await self._change(
            lambda connection: neighbours.learn_address(connection, found.hub, address, Learnt.TYPED),
            actor,
            f"remember {address}",
            found,
        )
        if not self._swapping.live(found.hub).connected:
            await self._swapping.forget(found.hub)  # so that it is called there now
        return address

    async def part(self, name: str, actor: str, *, keep: bool) -> Neighbour:
        """End a pairing, at once. ``keep``: what came from the hub stays; else it is erased, here only.

        A hub that was parted from can be removed later. Raises `NoSuchNeighbour`, `NotPaired`.
        """
        found = await self._find(name)
        if keep and found.tie not in PINNED:
            raise NotPaired(hub=found.name)
        tie, now = (Tie.PARTED if keep else Tie.REMOVING), self._now_ms()

        def write(connection: Connection) -> None:
            neighbours.tie(connection, found.hub, tie)
            neighbours.forget_addresses(connection, found.hub)
            outcome = f"{found.name}: {'kept' if keep else 'removed'}"
            decisions.decide(connection, now, Act.PART, "", Role.CARETAKER, "hub", outcome)
            decisions.note(connection, now, actor, "unpair", base32(found.hub)[:26])

        await self._database.write(write)
        self._heed(found.hub, None)
        await self._swapping.forget(found.hub)
        if not keep:
            await self._remove(found.hub)
        return replace(found, tie=tie, addresses=())

    async def forks(self) -> list[Fork]:
        """What waits for a caretaker's word: hubs that are there twice, this one too."""
        return await self._database.read_with(self._forks)

    async def decide(self, typed: str, verdict: Verdict, actor: str) -> Fork:
        """Say why a hub is there twice. Raises `NoFork`."""
        waiting = {each.hub: each for each in await self.forks()}
        found = _meant(typed, {each.hub: each.name for each in waiting.values()})
        if len(found) != 1:
            raise NoFork(typed=shown_name(self._hub, typed))
        fork, now = waiting[found[0]], self._now_ms()

        def write(connection: Connection) -> None:
            for each in arrivals.forks(connection, fork.hub):
                if not each.decided:
                    arrivals.decide(connection, each.hub, each.epoch, str(verdict))
            decisions.note(connection, now, actor, f"decide {verdict}", base32(fork.hub)[:26])

        await self._database.write(write)
        return fork

    async def called(self, hubs: Iterable[HubId]) -> dict[HubId, str]:
        """What each of ``hubs`` is called here, neighbour or not, told apart from others."""
        return await self._database.read_with(lambda connection: self._called(connection, hubs))

    async def held(self, typed: str, hubs: Iterable[HubId]) -> HubId:
        """The one of ``hubs``, of which something is held back, that a person means. Raises `NothingHeld`."""
        found = _meant(typed, await self.called(hubs))
        if len(found) != 1:
            raise NothingHeld(typed=shown_name(self._hub, typed))
        return found[0]

    async def finish_removals(self) -> None:
        """Erase what a hub that stopped in the middle of it left; for the start."""
        for each in await self._database.read_with(neighbours.every):
            if each.tie is Tie.REMOVING:
                await self._remove(each.hub)

    # --- what the exchange tells ------------------------------------------------------------------

    async def pins(self) -> dict[HubId, bytes]:
        """The certificates (DER) of the hubs that are let in: those paired, paused or not."""
        found = await self._database.read_with(neighbours.every)
        return {each.hub: each.certificate for each in found if each.tie in PINNED}

    async def find(self, hub: HubId) -> Neighbour | None:
        """What ``hub`` is to this one, if it was ever paired; the name is as it says."""
        return await self._database.read_with(lambda connection: neighbours.find(connection, hub))

    async def greeted(self, hub: HubId, said: Greeting) -> None:
        """A session with a neighbour began, or its clock was read again."""
        offset_ms = None
        if said.steady_ms is not None:
            offset_ms = self._heed(hub, ClockReading(said.steady_ms, said.quality))
        now = self._now_ms()
        origin = decisions.Origin(hub, shown_name(hub, said.name), shown_colour(said.colour))
        known = await self._database.read_with(lambda connection: decisions.origins(connection).get(hub))
        same = known is not None and (known.name, known.colour) == (origin.name, origin.colour)

        def write(connection: Connection) -> None:
            if not same:
                decisions.know_origin(connection, origin)
            neighbours.greet(
                connection,
                hub,
                said.choices,
                said.protocol,
                shown_version(said.version),
                offset_ms,
                said.quality,
                now,
            )
            for address in callable_addresses(said.addresses):
                neighbours.learn_address(connection, hub, address, Learnt.TOLD)

        await (self._database.note(write) if same else self._database.write(write))

    async def in_step(self, hub: HubId) -> None:
        """Both hold the same."""
        now = self._now_ms()
        await self._database.note(lambda connection: neighbours.swap(connection, hub, now))

    async def troubled(self, hub: HubId, code: str) -> None:
        """The exchange with a neighbour failed; ``code`` is that of the error."""
        await self._database.note(lambda connection: neighbours.trouble(connection, hub, code))

    async def learn(self, hub: HubId, address: Address, learnt: Learnt, *, good: bool = False) -> None:
        """A neighbour can perhaps be called there; ``good``: it has just proved to be there."""
        good_ms = self._now_ms() if good else None
        await self._database.note(
            lambda connection: neighbours.learn_address(connection, hub, address, learnt, good_ms)
        )

    # --- inside -----------------------------------------------------------------------------------

    def _known(self, neighbour: Neighbour) -> Known:
        return Known(neighbour, self._swapping.live(neighbour.hub) if neighbour.tie in PINNED else Live())

    def _all(self, connection: Connection) -> list[Neighbour]:
        """Every neighbour by a name of its own."""
        names = told_apart(self._names(connection), self._name())
        return [replace(each, name=names.get(each.hub, each.name)) for each in neighbours.every(connection)]

    def _forks(self, connection: Connection) -> list[Fork]:
        first = {each.hub: each.at_ms for each in arrivals.forks(connection) if not each.decided}
        names = self._called(connection, first)
        return [Fork(hub, names[hub], at_ms) for hub, at_ms in first.items()]

    def _called(self, connection: Connection, hubs: Iterable[HubId]) -> dict[HubId, str]:
        names = {**told_apart(self._names(connection), self._name()), self._hub: self._name()}
        return {hub: names.get(hub) or shown_name(hub, "") for hub in hubs}

    def _names(self, connection: Connection) -> dict[HubId, str]:
        return {hub: origin.name for hub, origin in decisions.origins(connection).items() if hub != self._hub}

    async def _find(self, typed: str) -> Neighbour:
        known = await self._database.read_with(self._all)
        wanted, meant = _folded(typed), _meant(typed, {each.hub: each.name for each in known})
        found = [each for each in known if each.hub in meant]
        if not found and wanted:
            found = [each for each in known if _folded(each.name).startswith(wanted)]
        if not found:
            raise NoSuchNeighbour(typed=shown_name(self._hub, typed))
        if len(found) > 1:
            raise AmbiguousNeighbour(typed=shown_name(self._hub, typed))
        return found[0]

    async def _paired(self, name: str) -> Neighbour:
        found = await self._find(name)
        if found.tie not in PINNED:
            raise NotPaired(hub=found.name)
        return found

    async def _tied(self, name: str, tie: Tie, act: str, actor: str) -> Neighbour:
        found = await self._paired(name)
        await self._change(lambda connection: neighbours.tie(connection, found.hub, tie), actor, act, found)
        return replace(found, tie=tie)

    async def _change(
        self, work: Callable[[Connection], None], actor: str, act: str, neighbour: Neighbour
    ) -> None:
        now = self._now_ms()

        def write(connection: Connection) -> None:
            work(connection)
            decisions.note(connection, now, actor, act, base32(neighbour.hub)[:26])

        await self._database.write(write)

    async def _note(self, actor: str, act: str, subject: str) -> None:
        now = self._now_ms()
        await self._database.note(lambda connection: decisions.note(connection, now, actor, act, subject))

    async def _remove(self, hub: HubId) -> None:
        """Erase what ``hub`` wrote, here only: headers stay, so that nobody offers it again."""
        objects = await self._database.read_with(lambda connection: neighbours.written_by(connection, hub))
        for at in range(0, len(objects), BATCH):
            await self._database.write(partial(_strip, objects[at : at + BATCH]))

        def finish(connection: Connection) -> None:
            found = neighbours.find(connection, hub)
            if found is not None and found.tie is Tie.REMOVING:
                neighbours.tie(connection, hub, Tie.REMOVED)
                arrivals.drop_of(connection, hub)

        await self._database.write(finish)
        await self._eraser.wipe()

    async def _recognised(self, sightings: Sequence[Sighting]) -> list[Seen]:
        known = await self._database.read_with(self._all)
        names = Counter(fold(each.name) for each in known if each.tie in PINNED)
        names.update([fold(self._name())])
        found = []
        for each in sorted(sightings, key=lambda each: (fold(each.name), each.fingerprint)):
            own = [old for old in known if base32(old.hub).startswith(each.fingerprint)]
            claimed = own[0] if own else None
            others = names[fold(each.name)] - (claimed is not None and fold(claimed.name) == fold(each.name))
            twice = sum(fold(other.name) == fold(each.name) for other in sightings) > 1
            found.append(Seen(each, claimed, others > 0 or twice))
        return found


def _meant(typed: str, names: Mapping[HubId, str]) -> list[HubId]:
    """The hubs that are called, or whose id begins with, what somebody typed."""
    wanted, letters = _folded(typed), canonical_letters(typed.strip())
    found = [hub for hub, name in names.items() if _folded(name) == wanted]
    if not found and len(letters) >= SHORTEST_ID:
        found = [hub for hub in names if base32(hub).startswith(letters)]
    return found


def _folded(name: str) -> str:
    return " ".join(fold(name).split())


def _with(choices: Choices, changed: Mapping[str, Choice]) -> Choices:
    """``choices`` with some changed; raises `BadStream`."""
    if not changed.keys() <= set(CHOSEN_STREAMS):
        raise BadStream(streams=", ".join(CHOSEN_STREAMS))
    return {**choices, **changed, Stream.STATUS: Choice.EXCHANGE}


def _strip(batch: Sequence[ObjectId], connection: Connection) -> None:
    for obj in batch:
        retention.strip(connection, obj)
