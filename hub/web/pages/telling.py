"""Pages for telling and deciding: reports, their outcome, and the public ledger."""

from __future__ import annotations

from dataclasses import dataclass

from hub.domain.errors import HubError, NotFound
from hub.domain.notices import Notice, Reply, State
from hub.domain.policy import REASON_WORDS, Gone, Reason
from hub.runtime.content import Content
from hub.runtime.routing import Route
from hub.services.caretaking import Caretaking
from hub.services.fileshare import FileShare
from hub.services.noticeboard import Noticeboard
from hub.services.reporting import Reporting
from hub.web import views
from hub.web.house import House
from hub.web.pages.posting import Posting, asker, when_to_try_again
from hub.web.pages.reading import EXCERPT, cursor, name_of
from hub.web.richtext import excerpt
from hub.web.server import Answer, PageHandler, Redirect, Visit
from hub.words import N_

_LINES = 50


class MissingReason(HubError):
    """No reason chosen."""

    code = "missing-reason"
    status = 422
    template = N_("Choose what is wrong with it.")


class UnknownReference(NotFound):
    """No report of that reference."""

    code = "unknown-reference"
    template = N_("There is no report with this reference. Check it against what you wrote down.")


class Telling:
    """Reports need no account; the ledger names no one."""

    def __init__(
        self,
        board: Noticeboard,
        share: FileShare,
        reporting: Reporting,
        caretaking: Caretaking,
        house: House,
        posting: Posting,
    ) -> None:
        self._board = board
        self._share = share
        self._reporting = reporting
        self._caretaking = caretaking
        self._house = house
        self._posting = posting

    def routes(self) -> list[Route[PageHandler]]:
        """The table."""
        return [
            Route("GET", "/reports", self.look_up),
            Route("GET", "/decisions", self.decisions),
            *(Route("GET", f"/{place}/{{id}}/report", self._form_of(of)) for place, of in _PLACES.items()),
            *(Route("POST", f"/{place}/{{id}}/report", self._report_of(of)) for place, of in _PLACES.items()),
        ]

    def _form_of(self, of: str) -> PageHandler:
        async def show(visit: Visit) -> Answer:
            return await self._form(visit, await self._subject(visit, of))

        return show

    def _report_of(self, of: str) -> PageHandler:
        async def carry_out(visit: Visit) -> Answer:
            return await self._report(visit, await self._subject(visit, of))

        return carry_out

    async def look_up(self, visit: Visit) -> Answer:
        """What became of a report."""
        reference = visit.query.get("ref", "").strip()
        page = await self._house.page(visit)
        if not reference:
            return self._house.content(visit, views.ReportsPage(page=page))
        try:
            report, hidden = await self._reporting.outcome(reference)
        except NotFound:
            sentence = visit.words.translate(UnknownReference.template)
            view = views.ReportsPage(page=page, values={"ref": reference}, errors={"ref": sentence})
            return self._house.content(visit, view, status=404, keep=False)
        state = views.ReportState.WAITING_HIDDEN if hidden else views.ReportState.WAITING
        if report.decided_ms is not None:
            kept = report.outcome == "kept"
            state = views.ReportState.KEPT if kept else views.ReportState.HIDDEN
        outcome = views.ReportOutcome(
            reference=f"{report.reference[:4]}-{report.reference[4:]}",
            state=state,
            received_ms=report.at_ms,
            decided_ms=report.decided_ms or 0,
            rule=visit.words.gettext(report.rule),
            sentence=report.answer,
        )
        view = views.ReportsPage(page=page, outcome=outcome, thanks="thanks" in visit.query)
        return self._house.content(visit, view, keep=False)

    async def decisions(self, visit: Visit) -> Answer:
        """The ledger, newest first."""
        entries = await self._caretaking.ledger(cursor(visit.query.get("before", "")), _LINES + 1)
        older = str(entries[_LINES - 1].number) if len(entries) > _LINES else ""
        page = await self._house.page(visit)
        view = views.DecisionsPage(page=page, entries=tuple(entries[:_LINES]), older=older)
        return self._house.content(visit, view, shared=True)

    async def _form(
        self,
        visit: Visit,
        subject: _Subject,
        *,
        values: dict[str, str] | None = None,
        errors: dict[str, str] | None = None,
        status: int = 200,
    ) -> Content:
        page = await self._house.page(visit)
        view = views.ReportPage(
            page=page,
            title=subject.title,
            lang=subject.lang,
            excerpt=excerpt(subject.text, EXCERPT),
            path=subject.path,
            action=visit.request.path,
            reasons=tuple(
                views.Choice(str(reason), visit.words.gettext(REASON_WORDS[reason])) for reason in Reason
            ),
            key=self._posting.fresh_key(),
            values=values or {},
            errors=errors or {},
        )
        return self._house.content(visit, view, status=status, keep=False)

    async def _report(self, visit: Visit, subject: _Subject) -> Answer:
        async with self._posting.form(visit) as form:
            values = {"reason": form.first("reason"), "text": form.first("text")}
            if values["reason"] not in set(Reason):
                errors = {"reason": visit.words.translate(MissingReason.template)}
                return await self._form(visit, subject, values=values, errors=errors, status=422)
            try:
                reported = await self._reporting.report(
                    subject.name,
                    subject.of,
                    Reason(values["reason"]),
                    values["text"],
                    asker(visit),
                    form.first("key")[:64],
                )
            except HubError as error:
                errors = {"": visit.words.translate(error.template, **error.fields)}
                content = await self._form(visit, subject, values=values, errors=errors, status=error.status)
                return when_to_try_again(content, error)
        return Redirect(f"/reports?ref={reported.reference}&thanks", reported.cookie)

    async def _subject(self, visit: Visit, of: str) -> _Subject:
        """What the address names; raises `NotFound`, and `Gone` for what was taken down."""
        name = name_of(visit.names["id"])
        if of == "file":
            file = (await self._share.file(name)).file
            path = views.file_path(file.public_id, file.name)
            return _Subject(of, file.public_id, file.name, file.lang, file.description, path)
        if of == "collection":
            collection = (await self._share.collection(name)).collection
            path = views.collection_path(collection.public_id, collection.title)
            return _Subject(
                of, collection.public_id, collection.title, collection.lang, collection.description, path
            )
        if of == "reply":
            reply, notice, state = await self._board.reply(name)
            if state is not State.LIVE:
                raise Gone
            shown: Reply | Notice = reply
        else:
            shown = notice = (await self._board.thread(name)).notice
        if notice.state is not State.LIVE:
            raise Gone
        path = views.notice_path(notice.public_id, notice.title)
        return _Subject(of, shown.public_id, notice.title, shown.lang, shown.text, path)


_PLACES = {"notices": "notice", "replies": "reply", "files": "file", "collections": "collection"}


@dataclass(frozen=True, slots=True)
class _Subject:
    """What a report is about: ``of`` as the service calls it, its public id, and how the page shows it."""

    of: str
    name: str
    title: str
    lang: str
    text: str
    path: str
