"""The caretakers' API, for advice between hubs: flags, block lists, and what of both concerns this hub."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from hub.api.admin import AdminEndpoint, BadChoice, Order, item_out
from hub.api.endpoints import Endpoint, in_path
from hub.api.schema import AdviceOut, AdvisedOut, Decision, Done
from hub.domain.advice import Following
from hub.services.advising import Advised, Advising

_BYTES_TOO = "files"


class AdviceApi:
    """Shapes in, the service called, shapes out."""

    def __init__(self, advising: Advising, now_ms: Callable[[], int]) -> None:
        self._advising = advising
        self._now_ms = now_ms

    def endpoints(self) -> list[AdminEndpoint]:
        """The table."""
        item = in_path("id", "Public id of another hub's notice, reply, file or collection.")
        name = in_path("name", "The neighbour's name, or how its id begins.")

        def post(
            path: str, operation: str, sentence: str, call: Callable[[Order], Awaitable[Done]]
        ) -> AdminEndpoint:
            return Endpoint(
                method="POST",
                path=path,
                name=operation,
                sentence=sentence,
                call=call,
                answer=Done,
                body=Decision,
                parameters=(item if "{id}" in path else name,),
                errors=(404, 409, 422),
            )

        return [
            Endpoint(
                method="GET",
                path="/advice",
                name="listAdvice",
                sentence="What neighbours advise about anything that is seen here.",
                call=self.advice,
                answer=AdviceOut,
            ),
            post(
                "/items/{id}/flag",
                "flagItem",
                "Tell the neighbours why this hub objects to an item: outcome is the reason, rule a number;"
                " or, without yes, take that back.",
                self.flag,
            ),
            post(
                "/items/{id}/block",
                "blockItem",
                "Put an item on this hub's block list, with files (value) its bytes wherever they stand too;"
                " without yes, take it off.",
                self.block,
            ),
            post(
                "/neighbours/{name}/block",
                "blockHub",
                "Put a hub on this hub's block list; without yes, take it off.",
                self.block_hub,
            ),
            post(
                "/neighbours/{name}/advice",
                "followAdvice",
                "Have a neighbour's block list shown (ask) or applied (apply): value.",
                self.follow,
            ),
        ]

    async def advice(self, _: Order) -> AdviceOut:
        """What neighbours advise."""
        found, now = await self._advising.advised(), self._now_ms()
        return AdviceOut(
            advised=[_advised_out(each, now) for each in found.advised],
            follows=list(found.follows),
            listed=found.listed,
        )

    async def flag(self, order: Order) -> Done:
        """Flag, or take that back."""
        name, body = order.names["id"], order.body
        if not body.yes:
            public_id = await self._advising.unflag(name, order.actor)
            return Done(sentence="The neighbours hear that you took it back.", id=public_id)
        public_id = await self._advising.flag(name, body.outcome, body.rule, order.actor)
        return Done(sentence="The neighbours hear of it. What they do is for them to decide.", id=public_id)

    async def block(self, order: Order) -> Done:
        """Block an item, or no longer."""
        if order.body.value not in ("", _BYTES_TOO):
            raise BadChoice(choices=_BYTES_TOO)
        public_id = await self._advising.block(
            order.names["id"],
            order.actor,
            bytes_too=order.body.value == _BYTES_TOO,
            off=not order.body.yes,
        )
        off = "no longer " if not order.body.yes else ""
        return Done(sentence=f"It is {off}on the block list that your neighbours may follow.", id=public_id)

    async def block_hub(self, order: Order) -> Done:
        """Block a hub, or no longer."""
        found = await self._advising.block_hub(order.names["name"], order.actor, off=not order.body.yes)
        off = "no longer " if not order.body.yes else ""
        return Done(sentence=f"{found.name} is {off}on the block list that your neighbours may follow.")

    async def follow(self, order: Order) -> Done:
        """Follow a block list, or no longer."""
        if order.body.value not in set(Following):
            raise BadChoice(choices=", ".join(Following))
        following = Following(order.body.value)
        found = await self._advising.follow(order.names["name"], following, order.actor)
        if following is Following.APPLY:
            return Done(sentence=f"What the block list of {found.name} names is hidden here from now on.")
        return Done(sentence=f"The block list of {found.name} hides nothing more here; what it hid stays so.")


def _advised_out(advised: Advised, now_ms: int) -> AdvisedOut:
    flag = advised.flag
    return AdvisedOut(
        by=advised.by,
        what="flag" if flag else "block",
        reason=str(flag.reason) if flag else "",
        rule=flag.rule if flag else 0,
        at_ms=advised.at_ms,
        item=item_out(advised.item, now_ms) if advised.item else None,
        about=advised.about,
        count=advised.count,
    )
