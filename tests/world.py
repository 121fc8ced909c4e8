"""Our invented street, for tests, the demo and screenshots: its people, its hubs and what they put up.

Everything here is made up and the same in every run. Words are in ``world_content``; the pictures are
drawn by :func:`tests.world_content.pictures.photograph`.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from hub.domain.notices import Kind, NoticeDraft, Picture, ReplyDraft, Scope
from tests.world_content.papers import paper, tune
from tests.world_content.pictures import photograph

_CONTENT = Path(__file__).parent / "world_content"
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
LASTS_DAYS = 28
OWN = "tanyard-road"
"""The key of the hub the street keeps itself; the others are :func:`neighbours`."""


@dataclass(frozen=True, slots=True)
class StreetHub:
    """A hub of the street's neighbourhood: ``colour`` names one of the house colours."""

    key: str
    name: str
    colour: str


@dataclass(frozen=True, slots=True)
class Resident:
    """Someone who writes notices: ``langs`` with the one they write first."""

    key: str
    name: str
    langs: tuple[str, ...]
    door: str


@dataclass(frozen=True, slots=True)
class StreetPicture:
    """A drawing by the name ``photograph`` knows it by, with the words that stand for it."""

    scene: str
    alt: str = ""


@dataclass(frozen=True, slots=True)
class StreetReply:
    """An answer, ``after_ms`` milliseconds after the notice went up."""

    text: str
    lang: str
    name: str
    after_ms: int

    def draft(self) -> ReplyDraft:
        """The reply as services take it."""
        return ReplyDraft(text=self.text, lang=self.lang, name=self.name)


@dataclass(frozen=True, slots=True)
class StreetNotice:
    """A notice that went up ``age_ms`` milliseconds ago at the hub with the key ``hub``."""

    hub: str
    kind: Kind
    title: str
    text: str
    lang: str
    scope: Scope
    name: str
    contact: str
    age_ms: int
    lasts_days: int = LASTS_DAYS
    pictures: tuple[StreetPicture, ...] = ()
    replies: tuple[StreetReply, ...] = ()
    pinned: bool = False

    def written_ms(self, now_ms: int) -> int:
        """When it went up, in Unix milliseconds."""
        return now_ms - self.age_ms

    def draft(self, now_ms: int, pictures: Sequence[Picture] = ()) -> NoticeDraft:
        """The notice as services take it; ``pictures`` are those of ``self.pictures``, stored."""
        return NoticeDraft(
            kind=self.kind,
            title=self.title,
            text=self.text,
            lang=self.lang,
            scope=self.scope,
            expires_ms=self.written_ms(now_ms) + self.lasts_days * DAY_MS,
            name=self.name,
            contact=self.contact,
            pictures=tuple(pictures),
        )


@dataclass(frozen=True, slots=True)
class StreetFile:
    """A file of the street's file share, with its bytes."""

    name: str
    data: bytes
    by: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class StreetShelf:
    """A collection of the street's file share; the words are those of its record."""

    title: str
    description: str
    owner: str
    may_add: str
    licence: str
    lang: str
    files: tuple[StreetFile, ...]


@cache
def _written() -> Mapping[str, Any]:
    return tomllib.loads((_CONTENT / "hand_written.toml").read_text(encoding="utf-8"))


@cache
def _templates() -> Mapping[str, Any]:
    return tomllib.loads((_CONTENT / "templates.toml").read_text(encoding="utf-8"))


def own_hub() -> StreetHub:
    """The hub in the hall of Tanyard Road."""
    return StreetHub(OWN, _written()["hub"]["name"], _written()["hub"]["colour"])


def looked_after_by() -> str:
    """Who looks after it, as its About page says."""
    words: str = _written()["hub"]["looked_after_by"]
    return words


def neighbours() -> list[StreetHub]:
    """The four hubs it exchanges with."""
    return [StreetHub(key, each["name"], each["colour"]) for key, each in _written()["neighbours"].items()]


def residents() -> list[Resident]:
    """Who lives on the street or close enough."""
    return [
        Resident(key, each["name"], tuple(each["langs"]), each["door"])
        for key, each in _written()["residents"].items()
    ]


def shelves() -> list[StreetShelf]:
    """What the street keeps in its file share: papers, tunes, photographs with the place still in them."""
    found = tomllib.loads((_CONTENT / "shelves.toml").read_text(encoding="utf-8"))
    return [
        StreetShelf(
            title=each["title"],
            description=each["description"],
            owner=each["owner"],
            may_add=each["may_add"],
            licence=each["licence"],
            lang=each.get("lang", "en"),
            files=tuple(_file(file) for file in each["file"]),
        )
        for each in found["shelf"]
    ]


def _file(written: Mapping[str, Any]) -> StreetFile:
    if "paper" in written:
        data = paper(written["paper"])
    elif "tune" in written:
        data = tune(written["tune"])
    elif "scene" in written:
        data = photograph(written["scene"], location=True)
    else:
        data = written["text"].encode()
    return StreetFile(written["name"], data, written.get("by", ""), written.get("description", ""))


def hand_written() -> list[StreetNotice]:
    """The notices the residents wrote themselves, oldest first: every kind, five languages."""
    notices = []
    for each in _written()["notice"]:
        replies = sorted(each.get("reply", []), key=lambda reply: float(reply["after"]))
        notices.append(
            StreetNotice(
                hub=each.get("from", OWN),
                kind=Kind(each["kind"]),
                title=each["title"],
                text=each["text"].strip(),
                lang=each["lang"],
                scope=Scope(each.get("scope", Scope.NETWORK)),
                name=_name(each),
                contact=each.get("contact", ""),
                age_ms=round(each["ago"] * HOUR_MS),
                lasts_days=each.get("days", LASTS_DAYS),
                pictures=tuple(
                    StreetPicture(picture["scene"], picture["alt"]) for picture in each.get("pictures", [])
                ),
                replies=tuple(
                    StreetReply(reply["text"], reply["lang"], _name(reply), round(reply["after"] * 60_000))
                    for reply in replies
                    if reply["after"] * 60_000 < each["ago"] * HOUR_MS
                ),
                pinned=each.get("pinned", False),
            )
        )
    return sorted(notices, key=lambda notice: -notice.age_ms)


def _name(written: Mapping[str, Any]) -> str:
    name: str = written["name"] if "name" in written else _written()["residents"][written["by"]]["name"]
    return name


_LANGS = {"en": 58, "pl": 13, "ur": 11, "ar": 10, "cy": 8}
_KINDS = {
    Kind.GIVE: 24,
    Kind.NEWS: 18,
    Kind.ASK: 18,
    Kind.QUESTION: 15,
    Kind.LOST: 13,
    Kind.WORK: 12,
}
_URGENT_ONE_IN = 250
_OWN_SHARE = 0.7
_PICTURE_SHARE = 0.6
"""Of the notices about something that has been drawn: about one notice in eight."""
_WAKES_MS, _SLEEPS_MS = round(6.7 * HOUR_MS), round(22.8 * HOUR_MS)
"""Between these times of day (UTC) the street puts notices up."""


def many(count: int, seed: int, now_ms: int, *, weeks: float = 3.5) -> Iterator[StreetNotice]:
    """``count`` believable notices of the last ``weeks``, oldest first, the same for the same arguments.

    They go up in waking hours (UTC), never later than ``now_ms``; about one in four has replies, one in
    eight a picture. A notice that is older than it lasts has ended, as on a real board.
    """
    chance = random.Random(f"{seed}/{count}/{weeks}")
    langs, kinds = list(_LANGS), list(_KINDS)
    for number in range(count):
        age_ms = _age_ms((number + chance.random()) / count, now_ms, weeks)
        lang = chance.choices(langs, list(_LANGS.values()))[0]
        kind = chance.choices(kinds, list(_KINDS.values()))[0]
        if lang == "en" and age_ms < 2 * DAY_MS and not chance.randrange(_URGENT_ONE_IN):
            kind = Kind.URGENT
        yield _made_up(chance, lang, kind, age_ms)


def own_notices(key: str, count: int, seed: int, now_ms: int, *, weeks: float = 3.5) -> list[StreetNotice]:
    """What went up at the hub ``key`` itself: what its residents wrote, and about ``count`` made up."""
    made_up = many(round(count / _OWN_SHARE), seed, now_ms, weeks=weeks)
    return [
        *(notice for notice in hand_written() if notice.hub == key),
        *(replace(notice, hub=key) for notice in made_up if notice.hub == OWN),
    ]


def _age_ms(position: float, now_ms: int, weeks: float) -> int:
    """The age at ``position`` (0 the oldest, below 1) of the time the street was awake since then."""
    days, today_ms, awake_ms = max(1, round(weeks * 7)), now_ms % DAY_MS, _SLEEPS_MS - _WAKES_MS
    awake_today_ms = min(max(today_ms - _WAKES_MS, 0), awake_ms)
    day, since_waking_ms = divmod(int(position * (days * awake_ms + awake_today_ms)), awake_ms)
    return (days - day) * DAY_MS + today_ms - _WAKES_MS - since_waking_ms


def _made_up(chance: random.Random, lang: str, kind: Kind, age_ms: int) -> StreetNotice:
    words, own = _templates()[lang], chance.random() < _OWN_SHARE or kind is Kind.URGENT
    pieces = words[kind.value]
    thing, _, scene = chance.choice(pieces["things"]).partition(" @")
    slots = {"thing": thing}
    title = _fill(chance, chance.choice(pieces["titles"]), slots, words)
    parts = [pieces["openings"], pieces["middles"], words["ends"]]
    text = " ".join(_sentence(_fill(chance, chance.choice(part), slots, words)) for part in parts)
    replies: tuple[StreetReply, ...] = ()
    if chance.random() < 0.25:
        last_ms = min(age_ms, 2 * DAY_MS)
        after = sorted(chance.randrange(last_ms + 1) for _ in range(min(5, int(chance.expovariate(0.6)) + 1)))
        replies = tuple(_reply(chance, lang, after_ms) for after_ms in after)
    with_picture = bool(scene) and chance.random() < _PICTURE_SHARE
    return StreetNotice(
        hub=OWN if own else chance.choice(list(_written()["neighbours"])),
        kind=kind,
        title=_sentence(title),
        text=text,
        lang=lang,
        scope=chance.choices([Scope.NETWORK, Scope.NEIGHBOURS, Scope.HUB], [6, 2, 2])[0]
        if own
        else Scope.NETWORK,
        name=_somebody(chance, lang) if chance.random() < 0.85 else "",
        contact=f"07700 900{chance.randrange(1000):03}" if chance.random() < 0.12 else "",
        age_ms=age_ms,
        lasts_days=2 if kind is Kind.URGENT else LASTS_DAYS,
        pictures=(StreetPicture(scene, thing),) if with_picture else (),
        replies=replies,
    )


def _reply(chance: random.Random, lang: str, after_ms: int) -> StreetReply:
    lang = lang if chance.random() < 0.8 else "en"
    words = _templates()[lang]
    text = _fill(chance, chance.choice(words["replies"]), {}, words)
    return StreetReply(
        _sentence(text), lang, _somebody(chance, lang) if chance.random() < 0.8 else "", after_ms
    )


def _somebody(chance: random.Random, lang: str) -> str:
    name: str = chance.choice(_names(lang))
    return name


@cache
def _names(lang: str) -> list[str]:
    return [each.name for each in residents() if each.langs[0] == lang] + list(_templates()[lang]["names"])


_SLOT = re.compile(r"\{(\w+)\}")


def _fill(chance: random.Random, text: str, slots: Mapping[str, str], words: Mapping[str, Any]) -> str:
    """``text`` with each ``{slot}`` filled from ``slots`` or by chance, and those within in turn."""

    def fill(slot: re.Match[str]) -> str:
        name = slot[1]
        if name in slots:
            return slots[name]
        if name in ("place", "day"):
            choice: str = chance.choice(words[f"{name}s"])
            return choice
        if name == "time":
            return f"{chance.randrange(7, 21)}:{chance.choice(('00', '15', '30', '45'))}"
        if name == "street":
            return "".join(chance.choice(part) for part in _templates()["streets"])
        return str(chance.randrange(*{"door": (1, 80), "pay": (9, 19), "n": (3, 13)}[name]))

    while (filled := _SLOT.sub(fill, text)) != text:
        text = filled
    return text


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
