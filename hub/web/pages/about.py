"""Pages about the hub itself, and the page of every error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hub.domain.errors import HubError, TryLater
from hub.domain.policy import DEFAULT_RULES, BoardPolicy
from hub.runtime.content import Content
from hub.runtime.routing import Route
from hub.web import views
from hub.web.house import House
from hub.web.pages.reading import TakenDown
from hub.web.server import COOKIE_DAYS, Answer, MethodNotAllowed, PageHandler, Visit


@dataclass(frozen=True, slots=True)
class Introduction:
    """What the caretakers wrote about the hub; all but ``rules`` may be empty."""

    rules: tuple[str, ...]
    rules_version: str
    rules_ms: int
    opening: str
    contact: str
    controller: str


class About:
    """Handlers for about, privacy, help, health, and errors."""

    def __init__(
        self,
        house: House,
        policy: Callable[[], BoardPolicy],
        introduction: Callable[[], Introduction],
        well: Callable[[], bool],
    ) -> None:
        self._house = house
        self._policy = policy
        self._introduction = introduction
        self._well = well

    def routes(self) -> list[Route[PageHandler]]:
        """The table."""
        return [
            Route("GET", "/about", self.about),
            Route("GET", "/privacy", self.privacy),
            Route("GET", "/help", self.help),
            Route("GET", "/healthz", self.healthz),
        ]

    async def about(self, visit: Visit) -> Answer:
        """Who looks after the hub, its rules, what it shares."""
        said = self._introduction()
        view = views.AboutPage(
            page=await self._house.page(visit),
            rules=tuple(visit.words.gettext(rule) if rule in DEFAULT_RULES else rule for rule in said.rules),
            rules_version=said.rules_version,
            rules_ms=said.rules_ms,
            opening=said.opening,
            contact=said.contact,
            mode=views.PostingMode(self._policy().posting),
        )
        return self._house.content(visit, view, shared=True)

    async def privacy(self, visit: Visit) -> Answer:
        """What this hub keeps, from its settings."""
        policy = self._policy()
        facts = views.PrivacyFacts(
            mode=views.PostingMode(policy.posting),
            held_first=policy.first_held,
            default_days=policy.lifetime_days,
            longest_days=policy.max_days,
            undo_minutes=policy.undo_minutes,
            cookie_days=COOKIE_DAYS,
            limit_minutes=max(1, policy.per_address.seconds // 60),
            report_days=policy.report_days,
            controller=self._introduction().controller,
        )
        view = views.PrivacyPage(page=await self._house.page(visit), facts=facts)
        return self._house.content(visit, view, shared=True)

    async def help(self, visit: Visit) -> Answer:
        """How to do everything."""
        policy = self._policy()
        view = views.HelpPage(
            page=await self._house.page(visit),
            undo_minutes=policy.undo_minutes,
            default_days=policy.lifetime_days,
        )
        return self._house.content(visit, view, shared=True)

    async def healthz(self, _: Visit) -> Answer:
        """One word for whoever watches the hub; no details for strangers."""
        if self._well():
            return Content(b"ok\n", "text/plain; charset=utf-8", keep=False)
        return Content(b"failing\n", "text/plain; charset=utf-8", status=503, keep=False)

    async def error(self, visit: Visit, error: HubError) -> Content:
        """The page for ``error``, in the visitor's words."""
        sentence = visit.words.translate(error.template, **error.fields)
        generic = type(error).code in _WORDED_BY_THE_PAGE
        view = views.ErrorPage(
            page=await self._house.page(visit),
            status=error.status,
            sentence="" if generic else sentence,
            changed_ms=error.changed_ms if isinstance(error, TakenDown) else 0,
        )
        content = self._house.content(visit, view, status=error.status, keep=False)
        headers: Mapping[str, str] = {}
        if isinstance(error, TryLater):
            headers = {"Retry-After": str(error.seconds)}
        elif isinstance(error, MethodNotAllowed):
            headers = {"Allow": "GET, HEAD, POST"}
        return Content(content.body, content.type, error.status, keep=False, headers=headers)


_WORDED_BY_THE_PAGE = frozenset({"not-found", "foreign-host"})
"""Errors for which the page itself has fuller words."""
