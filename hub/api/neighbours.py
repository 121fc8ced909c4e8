"""The caretakers' API, for neighbouring hubs: pairing, what is shared with whom, parting."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from hub.api.admin import AdminEndpoint, BadChoice, Order
from hub.api.endpoints import Endpoint, in_path
from hub.api.schema import (
    AddressOut,
    Decision,
    Done,
    ForkOut,
    HeldOut,
    NeighbourOut,
    PairingIn,
    PairingOut,
    SeenOut,
    StreamOut,
)
from hub.domain.admission import Wait
from hub.domain.errors import NoRoom
from hub.domain.ids import HubId, base32, short_hub_id
from hub.domain.neighbours import CHOSEN_STREAMS
from hub.domain.sharing import DEFAULT_CHOICES, Choice, Choices
from hub.services.ingest import Ingest
from hub.services.neighbours import Known, Neighbours, Seen, Standing, Step, Verdict
from hub.storage.arrivals import Pile

ID_LENGTH = 26
AGREEMENT = (
    "What residents mark for neighbouring hubs, or for every hub, is copied to the other hub.",
    "What its author or this hub’s caretakers erase, the other hub erases too, and says so.",
    "Each hub decides for itself what it shows; only the hub where something was put up can change it.",
    "Whoever wants something removed asks the hub where it was put up.",
    "Either hub can end this at any time.",
)
"""What two hubs agree to when they pair."""


class NeighboursApi:
    """Shapes in, the service called, shapes out."""

    def __init__(self, neighbours: Neighbours, ingest: Ingest) -> None:
        self._neighbours = neighbours
        self._ingest = ingest

    def endpoints(self) -> list[AdminEndpoint]:
        """The table."""
        name = in_path("name", "The neighbour's name, or how its id begins.")

        def get(path: str, operation: str, sentence: str, call: Any, answer: Any) -> AdminEndpoint:
            named = "{name}" in path
            return Endpoint(
                method="GET",
                path=path,
                name=operation,
                sentence=sentence,
                call=call,
                answer=answer,
                parameters=(name,) if named else (),
                errors=(404, 409) if named else (),
            )

        def post(
            path: str,
            operation: str,
            sentence: str,
            call: Callable[[Order], Awaitable[Any]],
            answer: Any = Done,
            body: Any = Decision,
        ) -> AdminEndpoint:
            return Endpoint(
                method="POST",
                path=path,
                name=operation,
                sentence=sentence,
                call=call,
                answer=answer,
                body=body,
                parameters=(name,) if "{name}" in path else (),
                errors=(404, 409, 422, 429, 502),
            )

        return [
            get("/neighbours", "listNeighbours", "Paired hubs.", self.every, list[NeighbourOut]),
            get("/neighbours/{name}", "showNeighbour", "One of them.", self.show, NeighbourOut),
            post(
                "/neighbours/{name}/sync",
                "syncNeighbour",
                "Compare with a neighbour now.",
                self.sync,
                list[NeighbourOut],
            ),
            post("/neighbours/{name}/pause", "pauseNeighbour", "Swap nothing for a while.", self.pause),
            post("/neighbours/{name}/resume", "resumeNeighbour", "Swap again.", self.resume),
            post(
                "/neighbours/{name}/choose",
                "chooseForNeighbour",
                "Let a stream (outcome) be exchanged, held or not exchanged (value).",
                self.choose,
            ),
            post(
                "/neighbours/{name}/remember",
                "rememberAddress",
                "Call a neighbour at a further address (value).",
                self.remember,
            ),
            post(
                "/neighbours/{name}/part",
                "partFromNeighbour",
                "End a pairing: keep what came from it (yes) or erase it here.",
                self.part,
            ),
            post("/sync", "syncAll", "Compare with every neighbour now.", self.sync, list[NeighbourOut]),
            get("/forks", "listForks", "Hubs that are there twice.", self.forks, list[ForkOut]),
            post(
                "/forks/{name}/decide",
                "decideFork",
                "Say why a hub is there twice: moved or new (value).",
                self.decide,
            ),
            get("/held", "listHeld", "What waits of other hubs.", self.held, list[HeldOut]),
            post("/held/{name}/let-in", "letIn", "Let in a hub that only a stick knew.", self.let_in),
            post("/held/{name}/turn-away", "turnAway", "Drop what waits of a hub.", self.turn_away),
            get("/nearby", "listNearby", "Hubs on this network.", self.discovered, list[SeenOut]),
            post(
                "/nearby/sweep",
                "sweepNetwork",
                "Ask every address of the own network.",
                self.sweep,
                list[SeenOut],
            ),
            get("/pairing", "showPairing", "How pairing stands.", self.pairing, PairingOut),
            post("/pairing/open", "openPairing", "Let a hub call.", self.open, PairingOut, PairingIn),
            post("/pairing/begin", "beginPairing", "Call a hub.", self.begin, PairingOut, PairingIn),
            post(
                "/pairing/accept",
                "acceptPairing",
                "The digits are the same.",
                self.accept,
                PairingOut,
                PairingIn,
            ),
            post("/pairing/refuse", "refusePairing", "They are not.", self.refuse, PairingOut),
        ]

    # --- looking ----------------------------------------------------------------------------------

    async def every(self, _: Order) -> list[NeighbourOut]:
        """All that are or were paired."""
        return [neighbour_out(known) for known in await self._neighbours.every()]

    async def show(self, order: Order) -> NeighbourOut:
        """One."""
        return neighbour_out(await self._neighbours.show(order.names["name"]))

    async def discovered(self, _: Order) -> list[SeenOut]:
        """Hubs on this network."""
        return [_seen_out(seen) for seen in await self._neighbours.discovered()]

    async def sweep(self, order: Order) -> list[SeenOut]:
        """Hubs that answer on this network."""
        return [_seen_out(seen) for seen in await self._neighbours.sweep(order.actor)]

    # --- pairing ----------------------------------------------------------------------------------

    async def pairing(self, _: Order) -> PairingOut:
        """How it stands."""
        return pairing_out(self._neighbours.standing())

    async def open(self, order: Order) -> PairingOut:
        """Let another hub call."""
        return pairing_out(await self._neighbours.open(order.pairing.minutes, order.actor))

    async def begin(self, order: Order) -> PairingOut:
        """Call another hub."""
        return pairing_out(await self._neighbours.begin(order.pairing.address, order.actor))

    async def accept(self, order: Order) -> PairingOut:
        """Accept."""
        choices = {stream: _choice(choice) for stream, choice in order.pairing.choices.items()}
        return pairing_out(await self._neighbours.accept(order.actor, choices))

    async def refuse(self, order: Order) -> PairingOut:
        """Refuse."""
        return pairing_out(await self._neighbours.refuse(order.actor))

    # --- deciding ---------------------------------------------------------------------------------

    async def sync(self, order: Order) -> list[NeighbourOut]:
        """Compare now, with one or with all."""
        return [neighbour_out(known) for known in await self._neighbours.sync(order.names.get("name", ""))]

    async def pause(self, order: Order) -> Done:
        """Pause."""
        found = await self._neighbours.pause(order.names["name"], order.actor)
        return Done(sentence=f"Nothing is swapped with {found.name} until you let it go on.")

    async def resume(self, order: Order) -> Done:
        """Go on."""
        found = await self._neighbours.resume(order.names["name"], order.actor)
        return Done(sentence=f"Swapping with {found.name} goes on.")

    async def choose(self, order: Order) -> Done:
        """Choose what becomes of a stream."""
        stream, choice = order.body.outcome, _choice(order.body.value)
        found = await self._neighbours.choose(order.names["name"], stream, choice, order.actor)
        return Done(sentence=f"{found.name}: {_sentence(stream, found.choices, found.theirs)}")

    async def remember(self, order: Order) -> Done:
        """Keep an address."""
        address = await self._neighbours.remember(order.names["name"], order.body.value, order.actor)
        return Done(sentence=f"It is also called at {address}.")

    async def part(self, order: Order) -> Done:
        """End a pairing."""
        found = await self._neighbours.part(order.names["name"], order.actor, keep=order.body.yes)
        if order.body.yes:
            return Done(sentence=f"{found.name} is no longer a neighbour. What came from it stays here.")
        return Done(sentence=f"{found.name} is no longer a neighbour. What it wrote is erased here.")

    async def forks(self, _: Order) -> list[ForkOut]:
        """Hubs that are there twice."""
        return [
            ForkOut(id=base32(fork.hub)[:ID_LENGTH], name=fork.name, seen_ms=fork.seen_ms)
            for fork in await self._neighbours.forks()
        ]

    async def decide(self, order: Order) -> Done:
        """Say why."""
        if order.body.value not in set(Verdict):
            raise BadChoice(choices=", ".join(Verdict))
        verdict = Verdict(order.body.value)
        fork = await self._neighbours.decide(order.names["name"], verdict, order.actor)
        with suppress(NoRoom):  # it is decided; what waits is looked at again by itself
            await self._ingest.release()
        if verdict is Verdict.MOVED:
            return Done(sentence=f"What {fork.name} wrote on both machines is taken in.")
        return Done(sentence=f"Nothing more of {fork.name} is taken in until it is set up anew.")

    # --- what waits -------------------------------------------------------------------------------

    async def held(self, _: Order) -> list[HeldOut]:
        """What waits."""
        piles = await self._ingest.troubles()
        hubs = {pile.origin for pile in piles} | {HubId(pile.neighbour) for pile in piles if pile.neighbour}
        names = await self._neighbours.called(hubs)
        return [_held_out(pile, names) for pile in piles]

    async def let_in(self, order: Order) -> Done:
        """Let a hub in."""
        piles = await self._ingest.troubles()
        strangers = {pile.origin for pile in piles if pile.reason is Wait.STRANGER}
        hub = await self._neighbours.held(order.names["name"], strangers)
        [name] = (await self._neighbours.called([hub])).values()
        await self._ingest.let_in(hub, order.actor)
        return Done(sentence=f"What {name} writes is taken in from now on, whoever brings it.")

    async def turn_away(self, order: Order) -> Done:
        """Drop what waits."""
        hub = await self._neighbours.held(
            order.names["name"], {pile.origin for pile in await self._ingest.troubles()}
        )
        [name] = (await self._neighbours.called([hub])).values()
        dropped = _records(await self._ingest.turn_away(hub, order.actor))
        return Done(
            sentence=f"{dropped} dropped that {name} wrote. If they are brought again, they wait again."
        )


def neighbour_out(known: Known) -> NeighbourOut:
    """A neighbour as caretakers see it."""
    each, live = known.neighbour, known.live
    return NeighbourOut(
        id=base32(each.hub)[:ID_LENGTH],
        hub=each.hub.hex(),
        name=each.name,
        colour=each.colour,
        state=str(each.tie),
        connected=live.connected,
        to_go=live.to_go,
        trouble=live.sentence or live.trouble or each.trouble,
        paired_ms=each.paired_ms,
        heard_ms=each.heard_ms,
        swapped_ms=each.swapped_ms,
        version=each.version,
        protocol=each.protocol,
        offset_ms=each.offset_ms,
        streams=[
            StreamOut(
                stream=stream,
                ours=each.choices.get(stream, Choice.NONE),
                theirs=each.theirs.get(stream, Choice.NONE),
                sentence=_sentence(stream, each.choices, each.theirs),
            )
            for stream in CHOSEN_STREAMS
        ],
        addresses=[
            AddressOut(address=str(kept.address), learnt=str(kept.learnt), good_ms=kept.good_ms)
            for kept in each.addresses
        ],
    )


def pairing_out(standing: Standing) -> PairingOut:
    """How pairing stands, with what to do next."""
    agreement: list[str] = []
    if standing.step in (Step.COMPARING, Step.ACCEPTED, Step.PAIRED):
        theirs = standing.choices or DEFAULT_CHOICES
        agreement = [*AGREEMENT, *(_sentence(stream, DEFAULT_CHOICES, theirs) for stream in CHOSEN_STREAMS)]
    return PairingOut(
        state=str(standing.step),
        digits=standing.digits,
        name=standing.name,
        hub=standing.hub.hex() if standing.hub else "",
        until_ms=standing.until_ms,
        trouble=standing.sentence or standing.trouble,
        next=_NEXT[standing.step].format(name=standing.name or "the other hub"),
        agreement=agreement,
    )


_NEXT = {
    Step.CLOSED: "Nobody is pairing. Let another hub call with: hub neighbours pair --open."
    " Or call one with: hub neighbours pair ADDRESS",
    Step.OPEN: "Another hub can call now. Its caretaker types: hub neighbours pair and this hub’s address."
    " Then look here again: hub neighbours pair",
    Step.CALLING: "The two hubs are talking. Look again in a moment: hub neighbours pair",
    Step.COMPARING: "Ring or visit the caretaker of {name}. If their screen shows the same six digits,"
    " both of you type: hub neighbours accept. If one digit differs, somebody is listening in:"
    " hub neighbours refuse",
    Step.ACCEPTED: "You have accepted. The caretaker of {name} has to do it too: hub neighbours accept",
    Step.PAIRED: "{name} is a neighbour now. The first exchange begins by itself.",
    Step.FAILED: "The two hubs did not pair, and nothing was shared."
    " Try again when both caretakers are there.",
}


def _sentence(stream: str, ours: Choices, theirs: Choices) -> str:
    """What comes of both choices for a stream."""
    here, there = ours.get(stream, Choice.NONE), theirs.get(stream, Choice.NONE)
    if here is Choice.NONE and there is Choice.NONE:
        return f"{stream} are not exchanged (neither hub wants it)."
    if Choice.NONE in (here, there):
        return f"{stream} are not exchanged ({'this' if here is Choice.NONE else 'the other'} hub chose so)."
    held = []
    if here is Choice.HOLD:
        held.append("theirs are shown here once you have approved them")
    if there is Choice.HOLD:
        held.append("ours are shown there once its caretakers have approved them")
    return f"{stream} come and go{''.join(f'; {each}' for each in held)}."


def _choice(typed: str) -> Choice:
    try:
        return Choice(typed)
    except ValueError as error:
        raise BadChoice(choices=", ".join(Choice)) from error


def _held_out(pile: Pile, names: Mapping[HubId, str]) -> HeldOut:
    sentence, remedy = _WHY[pile.reason]
    by = names[HubId(pile.neighbour)] if pile.neighbour else ""
    words = {"name": names[pile.origin], "by": by or "a stick", "id": short_hub_id(pile.origin)}
    return HeldOut(
        id=base32(pile.origin)[:ID_LENGTH],
        name=words["name"],
        by=by,
        why=str(pile.reason),
        records=pile.records,
        size=pile.size,
        since_ms=pile.since_ms,
        sentence=sentence.format(**words),
        remedy=remedy.format(**words),
    )


_WHY = {
    Wait.FUTURE: (
        "The clock of {name} runs ahead: what it wrote is from the future.",
        "It is taken in when its time has come. Ask its caretaker to set the clock.",
    ),
    Wait.QUOTA: (
        "{by} brought more of {name} than is taken from one hub in a day, or kept of one.",
        "The rest is looked at each day. If it is rubbish: hub neighbours turn-away {id}",
    ),
    Wait.STRANGER: (
        "It came on a stick, and nobody here knows {name}.",
        "If you do: hub neighbours let-in {id} (or hub neighbours turn-away {id})",
    ),
    Wait.FORK: (
        "Two hubs write as {name}.",
        "Ask the people who look after it whether it moved, then: hub neighbours decide {id} moved (or new)",
    ),
}


def _records(count: int) -> str:
    return f"{count} records were" if count != 1 else "1 record was"


def _seen_out(seen: Seen) -> SeenOut:
    sighting = seen.sighting
    return SeenOut(
        id=sighting.fingerprint,
        name=sighting.name,
        version=sighting.version,
        addresses=[str(address) for address in sighting.addresses],
        seen_ms=sighting.seen_ms,
        how=sighting.how,
        state=str(seen.neighbour.tie) if seen.neighbour else "unknown",
        namesake=seen.namesake,
    )
