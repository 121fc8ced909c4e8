"""What people typed, checked: from text fields to drafts, or a sentence for each field to put right."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import TypeVar

from hub.domain import notices
from hub.domain.errors import HubError, Refused
from hub.domain.notices import Kind, NoticeDraft, Picture, ReplyDraft, Scope
from hub.domain.policy import DAY_MS, URGENT_MAX_MS, BoardPolicy
from hub.words import N_

_DIRECTIONS = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F])
"""Characters that turn the direction of text around what follows: never in names or titles."""
_Option = TypeVar("_Option", bound=StrEnum)
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})?")


class FormRefused(Refused):
    """A form to put right: ``problems`` maps a field's name to what is wrong with it."""

    code = "form-refused"
    status = 422
    template = N_("Some of what you typed needs putting right. Nothing was lost.")

    def __init__(self, problems: Mapping[str, HubError]) -> None:
        self.problems = dict(problems)
        super().__init__()


class MissingTitle(Refused):
    """No title."""

    code = "missing-title"
    status = 422
    template = N_("Give your notice a title.")


class MissingText(Refused):
    """No text."""

    code = "missing-text"
    status = 422
    template = N_("Write what you want to say.")


class TooLong(Refused):
    """A field is longer than it may be."""

    code = "too-long"
    status = 422
    template = N_("This is too long: at most {most} characters. It has {length}.")


class MissingKind(Refused):
    """No kind, or an unknown one."""

    code = "missing-kind"
    status = 422
    template = N_("Choose what kind of notice it is.")


class BadDate(Refused):
    """Not a date."""

    code = "bad-date"
    status = 422
    template = N_("Write the last day like 25/12/2026.")


class DateOutOfRange(Refused):
    """A date in the past or too far ahead."""

    code = "date-out-of-range"
    status = 422
    template = N_("Choose a last day from today to {days} days from now.")


class UrgentTooLong(Refused):
    """An urgent notice must be short-lived."""

    code = "urgent-too-long"
    status = 422
    template = N_("An urgent notice ends within three days. Choose an earlier last day or another kind.")


class BadScope(Refused):
    """Not one of the choices of who may see it."""

    code = "bad-scope"
    status = 422
    template = N_("Choose who may see it.")


@dataclass(frozen=True, slots=True)
class Typed:
    """The text fields of a notice or reply as they were typed; anything may be empty or nonsense."""

    kind: str = ""
    title: str = ""
    text: str = ""
    name: str = ""
    contact: str = ""
    lang: str = ""
    until: str = ""
    scope: str = ""
    alts: tuple[str, ...] = ()


def check_notice(
    typed: Typed,
    pictures: tuple[Picture, ...],
    policy: BoardPolicy,
    today: date,
    now_ms: int,
    offset_ms: int,
    fallback_lang: str,
) -> NoticeDraft:
    """The draft ``typed`` makes, or `FormRefused` with every problem at once.

    ``today`` is the local date, ``offset_ms`` local time minus UTC at the end of the day: a notice
    stays up until midnight of its last day. Without a date it stays ``policy.lifetime_days``.
    """
    problems: dict[str, HubError] = {}
    title, name, contact = line(typed.title), line(typed.name), line(typed.contact)
    text = typed.text.strip()
    _length(problems, "title", title, notices.MAX_TITLE)
    _length(problems, "text", text, notices.MAX_TEXT)
    _length(problems, "name", name, notices.MAX_NAME)
    _length(problems, "contact", contact, notices.MAX_CONTACT)
    if not title:
        problems["title"] = MissingTitle()
    if not text:
        problems["text"] = MissingText()
    kind = _choice(Kind, typed.kind)
    if kind is None:
        problems["kind"] = MissingKind()
    scope = _choice(Scope, typed.scope) if typed.scope else policy.default_scope
    if scope is None:
        problems["scope"] = BadScope()
    expires_ms = _last_moment(problems, typed.until, kind, policy, today, now_ms, offset_ms)
    described = []
    for index, picture in enumerate(pictures):
        alt = line(typed.alts[index]) if index < len(typed.alts) else picture.alt
        _length(problems, f"alt{index + 1}", alt, notices.MAX_ALT)
        described.append(
            Picture(
                picture.full,
                picture.width,
                picture.height,
                picture.thumb,
                picture.thumb_width,
                picture.thumb_height,
                alt,
            )
        )
    if problems or kind is None or scope is None:
        raise FormRefused(problems)
    return NoticeDraft(
        kind=kind,
        title=title,
        text=text,
        lang=language(typed.lang, fallback_lang),
        scope=scope,
        expires_ms=expires_ms,
        name=name,
        contact=contact,
        pictures=tuple(described),
    )


def check_reply(typed: Typed, fallback_lang: str) -> ReplyDraft:
    """The reply ``typed`` makes, or `FormRefused`."""
    problems: dict[str, HubError] = {}
    text, name = typed.text.strip(), line(typed.name)
    _length(problems, "text", text, notices.MAX_REPLY)
    _length(problems, "name", name, notices.MAX_NAME)
    if not text:
        problems["text"] = MissingText()
    if problems:
        raise FormRefused(problems)
    return ReplyDraft(text, language(typed.lang, fallback_lang), name)


def line(text: str) -> str:
    """``text`` on one line, without characters that turn its direction, spaces folded."""
    return " ".join(text.translate(_DIRECTIONS).split())


def language(tag: str, fallback: str) -> str:
    """A BCP 47 tag of the simple form, or ``fallback``."""
    return tag if _LANGUAGE.fullmatch(tag) else fallback


def read_date(text: str, today: date) -> date | None:
    """A date as people and old browsers write it: 2026-12-25, 25/12/2026, 25.12.26, 25-12-2026, 25/12.

    A day and month without a year mean the next such day. None if it is no date.
    """
    text = text.strip()
    if match := re.fullmatch(r"(\d{4})-(\d{1,2})-(\d{1,2})", text):
        return _date(int(match[1]), int(match[2]), int(match[3]))
    if match := re.fullmatch(r"(\d{1,2})[./ -](\d{1,2})[./ -](\d{4}|\d{2})", text):
        year = int(match[3])
        return _date(year + 2000 if year < 100 else year, int(match[2]), int(match[1]))
    if match := re.fullmatch(r"(\d{1,2})[./](\d{1,2})\.?", text):
        years = range(today.year, today.year + 9)  # eight years can lie between two 29ths of February
        days = (_date(year, int(match[2]), int(match[1])) for year in years)
        return next((day for day in days if day is not None and day >= today), None)
    return None


def _date(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _last_moment(
    problems: dict[str, HubError],
    typed: str,
    kind: Kind | None,
    policy: BoardPolicy,
    today: date,
    now_ms: int,
    offset_ms: int,
) -> int:
    """Unix ms of the midnight that ends the last day; notes what is wrong under ``until``."""
    urgent = kind is Kind.URGENT
    if not typed.strip():
        return now_ms + (URGENT_MAX_MS if urgent else policy.lifetime_days * DAY_MS)
    last = read_date(typed, today)
    if last is None:
        problems["until"] = BadDate()
        return 0
    if not today <= last <= today + timedelta(days=policy.max_days):
        problems["until"] = DateOutOfRange(days=policy.max_days)
        return 0
    end = datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1)
    end_ms = int(end.timestamp() * 1000) - offset_ms
    if urgent and last > today + timedelta(days=3):
        problems["until"] = UrgentTooLong()
    return min(end_ms, now_ms + URGENT_MAX_MS) if urgent else end_ms


def _length(problems: dict[str, HubError], field: str, text: str, most: int) -> None:
    if len(text) > most:
        problems[field] = TooLong(most=most, length=len(text))
    elif len(text.encode("utf-8", "replace")) > notices.MAX_TEXT_BYTES:
        problems[field] = TooLong(most=notices.MAX_TEXT_BYTES // 4, length=len(text))


def _choice(options: type[_Option], value: str) -> _Option | None:
    try:
        return options(value)
    except ValueError:
        return None
