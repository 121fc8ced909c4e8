"""The root error. Each error is defined next to what raises it; faces turn it into words and a status."""

from __future__ import annotations

from typing import ClassVar

from hub.words import N_


class HubError(Exception):
    """Something a person has to be told.

    ``code`` is stable and for programs; ``template`` is a translatable English sentence with
    ``{fields}`` that says what happened, what is safe and what to do next; ``status`` is the HTTP
    status a page or an API answer carries. Never put residents' text into a field that is logged.
    """

    code: ClassVar[str] = "hub-error"
    status: ClassVar[int] = 500
    template: ClassVar[str] = N_("Something went wrong at the hub. Nothing you see here is lost. Try again.")

    def __init__(self, **fields: object) -> None:
        self.fields = fields
        super().__init__(self.code)

    def __str__(self) -> str:
        return self.template.format(**self.fields)


class Refused(HubError):
    """A request the hub understood and will not carry out (4xx)."""

    code = "refused"
    status = 400
    template = N_("The hub could not use that. Nothing was changed. Go back and try again.")


class NotFound(Refused):
    """Nothing lives under the address or id given."""

    code = "not-found"
    status = 404
    template = N_("There is nothing at this address. Look for it on the board or search.")


class TryLater(Refused):
    """A limit was reached; ``seconds`` says when to try again."""

    code = "try-later"
    status = 429
    template = N_("That is a lot at once. What you typed is kept. Try again in {seconds} seconds.")

    def __init__(self, *, seconds: int, **fields: object) -> None:
        self.seconds = seconds
        super().__init__(seconds=seconds, **fields)


class NoRoom(HubError):
    """The card is full or cannot be written; reading goes on."""

    code = "no-room"
    status = 507
    template = N_(
        "The hub has no room left to keep this. What you typed is still in the form. "
        "Tell the person who looks after the hub."
    )
