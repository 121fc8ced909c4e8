"""Reports: anybody may send one, without an account; what enough people report hides at once (J11)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hub.domain.errors import NotFound
from hub.domain.ids import ObjectId, base32, canonical_letters
from hub.domain.ledger import Act, Role
from hub.domain.policy import Complaint, Reason, reports_hide
from hub.services.authorship import Asker, Authorship
from hub.services.identity import Identity
from hub.storage import authors, decisions, files, moderation, notices
from hub.storage.database import Connection, Database


@dataclass(frozen=True, slots=True)
class Reported:
    """A report's reference, and whether the item is hidden now."""

    reference: str
    hidden: bool
    cookie: str


@dataclass(frozen=True, slots=True)
class _Subject:
    """What a report is about; ``thread`` is the notice of a reply."""

    obj: ObjectId
    thread: ObjectId | None = None
    official: bool = False


class Reporting:
    """Takes reports, hides what they hide, and tells what became of them."""

    def __init__(
        self,
        database: Database,
        authorship: Authorship,
        identity: Identity,
        now_ms: Callable[[], int],
        chance: Callable[[int], bytes],
    ) -> None:
        self._database = database
        self._authorship = authorship
        self._identity = identity
        self._now_ms = now_ms
        self._chance = chance

    async def report(
        self, name: str, of: str, reason: Reason, words: str, asker: Asker, form_key: str
    ) -> Reported:
        """Report the notice, reply, file or collection (``of`` says which) with the public id ``name``.

        Anybody may report, also from a device that may not write. Raises `NotFound`, `TryLater`.
        """
        now = self._now_ms()
        subject = await self._database.read_with(lambda connection: _subject(connection, now, name, of))
        cookie = self._authorship.admit(asker)
        reference = base32(self._chance(5))
        key = self._identity.veil("form", form_key.encode()) if form_key else None

        def write(connection: Connection) -> Reported:
            earlier = moderation.report_of_form(connection, key) if key else None
            if earlier is not None:
                hidden = moderation.hidden(connection, subject.obj) is not None
                return Reported(earlier.reference, hidden, cookie)
            device = self._authorship.meet(connection, cookie)
            moderation.file_report(
                connection,
                moderation.Report(
                    reference,
                    subject.obj,
                    of,
                    str(reason),
                    words[:1000],
                    device.hash,
                    now,
                    None,
                    None,
                    "",
                    "",
                ),
                key,
            )
            if moderation.hidden(connection, subject.obj) is not None:
                return Reported(reference, True, cookie)
            reports = moderation.reports_of(connection, subject.obj)
            answered = {item.device for item in reports if item.outcome == "kept"}
            complaints = [
                Complaint(Reason(item.reason), item.device, _is_trusted(connection, item.device))
                for item in reports
                if item.decided_ms is None and item.device not in answered
            ]
            official = _subject(connection, now, name, of).official
            if not reports_hide(complaints, official=official):
                return Reported(reference, False, cookie)
            moderation.hide(connection, subject.obj, subject.thread, now, "reports", by_reports=True)
            decisions.decide(connection, now, Act.AUTO_HIDE, str(reason), Role.REPORTS, of, "waiting")
            return Reported(reference, True, cookie)

        return await self._database.write(write)

    async def outcome(self, reference: str) -> tuple[moderation.Report, bool]:
        """A report by its reference, and whether its item is hidden now; raises `NotFound`."""

        def read(connection: Connection) -> tuple[moderation.Report, bool]:
            report = moderation.report(connection, normal_reference(reference))
            if report is None:
                raise NotFound
            return report, moderation.hidden(connection, report.obj) is not None

        return await self._database.read_with(read)


def normal_reference(typed: str) -> str:
    """A report's reference as stored, however it was typed from paper."""
    return canonical_letters("".join(letter for letter in typed if letter.isalnum()))


def _subject(connection: Connection, now: int, name: str, of: str) -> _Subject:
    """What can be seen under that name; raises `NotFound`."""
    if of == "reply":
        answer = notices.reply_by_public_id(connection, name)
        notice = notices.by_object(connection, now, answer.notice) if answer else None
        if answer is None or notice is None or answer.reply.hidden or notice.hidden:
            raise NotFound
        return _Subject(answer.reply.obj, notice.obj)
    if of == "notice":
        notice = notices.by_public_id(connection, now, name)
        if notice is None or notice.hidden:
            raise NotFound
        return _Subject(notice.obj, official=notice.official)
    found = (
        files.collection_by_public_id(connection, now, name)
        if of == "collection"
        else files.file_by_public_id(connection, name)
    )
    if found is None or found.hidden:
        raise NotFound
    return _Subject(found.obj)


def _is_trusted(connection: Connection, device: bytes | None) -> bool:
    known = authors.device(connection, device) if device else None
    return known is not None and known.trusted
