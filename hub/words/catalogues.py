"""Speaking to a reader: one ``Catalogue`` per language, all of them read when the hub starts.

Days, months and numbers are messages like any other, so nothing but the compiled catalogues is
needed at run time: Babel's locale data would add 70 ms of CPU to a start and 10 MB of memory.
Digits are Latin in every language, to match the clock on the wall and on posters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from gettext import GNUTranslations, NullTranslations
from pathlib import Path
from string import Formatter
from typing import NamedTuple
from zoneinfo import ZoneInfo

from hub.words import N_

LOCALES = Path(__file__).with_name("locales")


class Language(NamedTuple):
    """A language residents may choose: its name in itself, and which way it is written."""

    name: str
    dir: str


LANGUAGES: Mapping[str, Language] = {
    "en": Language("English", "ltr"),
    "cy": Language("Cymraeg", "ltr"),
    "pl": Language("Polski", "ltr"),
    "ur": Language("اردو", "rtl"),
    "ar": Language("العربية", "rtl"),
}

# Translators: keep the order and the commas; the form used inside a date.
_WEEKDAYS = N_("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday")
# Translators: keep the order and the commas; the form used after the number of a day.
_MONTHS = N_(
    "January, February, March, April, May, June, July, August, September, October, November, December"
)
_WEEKDAY_DAY = N_("{weekday} {day} {month}")
_WEEKDAY_DATE = N_("{weekday} {day} {month} {year}")
_DAY = N_("{day} {month}")
_DATE = N_("{day} {month} {year}")
_TODAY = N_("Today, {date}")
_YESTERDAY = N_("yesterday, {time}")
_JUST_NOW = N_("just now")
# Translators: how the number one thousand two hundred thirty-four and a half is written.
_NUMBER = N_("1,234.5")
_SIZES = (N_("{number} kB"), N_("{number} MB"), N_("{number} GB"), N_("{number} TB"))

_LAST_MS = 253_370_764_800_000
"""The year 9999: what a hostile or broken clock may claim, dates still have to be written."""
_MINUTE, _HOUR, _DAY_MS = 60_000, 3_600_000, 86_400_000


class Catalogue:
    """The words of one language and the hub's time zone.

    Times are Unix milliseconds. Nothing here raises for a missing translation (English is shown)
    or for a time outside the calendar (the nearest one is shown).
    """

    def __init__(self, lang: str, translations: NullTranslations, zone: tzinfo) -> None:
        self.lang = lang
        self.name, self.dir = LANGUAGES[lang]
        self.ngettext = translations.ngettext
        self._gettext = translations.gettext
        self._zone = zone
        self._weekdays = self.gettext(_WEEKDAYS).split(", ")
        self._months = self.gettext(_MONTHS).split(", ")
        sample = self.gettext(_NUMBER)
        self._group, self._point = sample[1], sample[-2]

    def gettext(self, message: str) -> str:
        """``message`` in this language. The empty message, which gettext keeps for itself, stays empty."""
        return self._gettext(message) if message else ""

    def translate(self, template: str, /, **fields: object) -> str:
        """``template`` (of a ``HubError``) translated and filled; a field that is missing stays empty."""
        translated = self.gettext(template)
        try:
            return _FILL.vformat(translated, (), fields)
        except (ValueError, LookupError, AttributeError, TypeError):
            return translated

    def time(self, ms: int) -> str:
        """``09:40``"""
        return f"{self._local(ms):%H:%M}"

    def date(self, ms: int) -> str:
        """``23 November 2026``"""
        return self._dated(_DATE, self._local(ms))

    def day(self, ms: int, now_ms: int) -> str:
        """A heading: ``Today, Monday 23 November``, ``Sunday 22 November``, and the year if another."""
        then, now = self._local(ms), self._local(now_ms)
        words = self._dated(_WEEKDAY_DAY if then.year == now.year else _WEEKDAY_DATE, then)
        if then.date() == now.date():
            return self.translate(_TODAY, date=words)
        return words[:1].upper() + words[1:]

    def when(self, ms: int, now_ms: int) -> str:
        """A moment in few words: ``09:40``, ``yesterday, 17:10``, ``3 November``, ``3 November 2025``."""
        then, now = self._local(ms), self._local(now_ms)
        days = now.toordinal() - then.toordinal()
        if days == 0:
            return f"{then:%H:%M}"
        if days == 1:
            return self.translate(_YESTERDAY, time=f"{then:%H:%M}")
        return self._dated(_DAY if then.year == now.year else _DATE, then)

    def ago(self, ms: int, now_ms: int) -> str:
        """How long ago: ``just now``, ``3 minutes ago``, ``2 hours ago``, ``5 days ago``, then the date."""
        passed = now_ms - ms
        ngettext = self.ngettext
        if passed < _MINUTE:
            return self.gettext(_JUST_NOW)
        if passed < _HOUR:
            count = passed // _MINUTE
            return ngettext("{count} minute ago", "{count} minutes ago", count).format(count=count)
        if passed < _DAY_MS:
            count = passed // _HOUR
            return ngettext("{count} hour ago", "{count} hours ago", count).format(count=count)
        if passed <= 30 * _DAY_MS:
            count = passed // _DAY_MS
            return ngettext("{count} day ago", "{count} days ago", count).format(count=count)
        return self.date(ms)

    def number(self, value: float, places: int = 0) -> str:
        """``value`` with this language's marks: ``1,234`` in English, ``1 234`` in Polish."""
        whole, _, fraction = f"{value:,.{places}f}".partition(".")
        whole = whole.replace(",", self._group)
        return f"{whole}{self._point}{fraction}" if fraction else whole

    def size(self, count: int) -> str:
        """``count`` bytes in words, in powers of ten: ``840 bytes``, ``84 kB``, ``1.2 MB``."""
        if count < 1000:
            return self.ngettext("{count} byte", "{count} bytes", count).format(count=count)
        value: float = count
        for unit in _SIZES:
            value /= 1000
            if value < 999.5 or unit is _SIZES[-1]:
                break
        places = 1 if value < 9.95 and unit is not _SIZES[0] and round(value, 1) % 1 else 0
        return self.translate(unit, number=self.number(value, places))

    def _local(self, ms: int) -> datetime:
        return datetime.fromtimestamp(min(max(ms, 0), _LAST_MS) / 1000, self._zone)

    def _dated(self, pattern: str, then: datetime) -> str:
        return self.gettext(pattern).format(
            weekday=self._weekdays[then.weekday()],
            day=then.day,
            month=self._months[then.month - 1],
            year=then.year,
        )


class _Fill(Formatter):
    """Formats with named fields only, leaving out what is not given."""

    def get_value(self, key: int | str, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
        return kwargs.get(str(key), "")


_FILL = _Fill()


class Catalogues(Mapping[str, Catalogue]):
    """The languages this hub offers, in their order."""

    def __init__(self, catalogues: Mapping[str, Catalogue]) -> None:
        self._catalogues = dict(catalogues)
        self._headers: dict[str, str | None] = {}

    @classmethod
    def load(
        cls,
        languages: Sequence[str] = tuple(LANGUAGES),
        time_zone: str = "Europe/London",
        locales: Path = LOCALES,
    ) -> Catalogues:
        """Read every catalogue from disk; none is touched again.

        ``languages`` are keys of ``LANGUAGES``. Raises ``FileNotFoundError`` where the catalogues
        have not been compiled (``python -m hub.words.compile --compile``).
        """
        zone = find_zone(time_zone)
        return cls({lang: Catalogue(lang, _translations(lang, locales), zone) for lang in languages})

    def __getitem__(self, lang: str) -> Catalogue:
        return self._catalogues[lang]

    def __iter__(self) -> Iterator[str]:
        return iter(self._catalogues)

    def __len__(self) -> int:
        return len(self._catalogues)

    def negotiate(
        self, query: str | None, cookie: str | None, accept_language: str | None, default: str
    ) -> Catalogue:
        """The catalogue for a reader: ``?lang=``, else the cookie, else Accept-Language, else ``default``.

        The first three may hold anything. ``default`` is a language this hub offers.
        """
        catalogues = self._catalogues
        for asked in (query, cookie):
            if asked and asked in catalogues:
                return catalogues[asked]
        if not accept_language:
            return catalogues[default]
        try:
            chosen = self._headers[accept_language]
        except KeyError:
            chosen = best_language(accept_language, self)
            if len(self._headers) >= _HEADERS_KEPT:
                self._headers.clear()
            if len(accept_language) <= _HEADER_LENGTH:
                self._headers[accept_language] = chosen
        return catalogues[chosen or default]


_HEADERS_KEPT = 200
_HEADER_LENGTH = 200
"""Different Accept-Language headers remembered, and their characters: browsers in one place send a few."""
_WEIGHT = re.compile(r"[Qq]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


def best_language(accept_language: str, offered: Sequence[str] | Mapping[str, object]) -> str | None:
    """The language of ``offered`` that an Accept-Language header likes best (RFC 9110 section 12.5.4).

    A range matches by its first subtag (``ar-EG`` is ``ar``). None when nothing matches or ``*``
    comes first; elements that are not of the header's form are passed over.
    """
    wanted: list[tuple[float, str]] = []
    refused: set[str] = set()
    for element in accept_language[:1000].split(","):
        tag, *parameters = (part.strip() for part in element.split(";"))
        weight = _WEIGHT.fullmatch(parameters[0]) if parameters else None
        if parameters and (weight is None or len(parameters) > 1):
            continue
        quality = float(weight[1]) if weight else 1.0
        if quality:
            wanted.append((-quality, tag.lower().partition("-")[0]))
        else:
            refused.add(tag.lower())
    for _, lang in sorted(wanted, key=lambda choice: choice[0]):
        if lang == "*":
            return None
        if lang in offered and lang not in refused:
            return lang
    return None


def find_zone(name: str) -> tzinfo:
    """The time zone of that name from the operating system, or UTC where it has none of that name."""
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        return UTC


def _translations(lang: str, locales: Path) -> NullTranslations:
    if lang == "en":
        return NullTranslations()
    with (locales / lang / "LC_MESSAGES" / "hub.mo").open("rb") as compiled:
        return GNUTranslations(compiled)


_ARABIC = re.compile("[\u0620-\u064a\u066e-\u06d3\u06fa-\u06ff]")
_URDU = re.compile("[ٹڈڑےہںھگچپکی]")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_HINTS = {
    lang: frozenset(words.split())
    for lang, words in {
        "pl": """się nie jest jestem są na dla jak za od po przez przy czy ale oraz lub pod nad bez był była
            tylko już proszę dzień dobry dziękuję mam masz można będzie bardzo kto co gdzie kiedy szukam
            oddam sprzedam znaleziono""",
        "cy": """yn yr ac mae gan wedi bydd ei eu gyda dydd nid chi hyn oes neu sydd bod gyfer ddim croeso
            diolch bore nos heddiw yfory rwy rydym oedd fydd cael eich ein ond fel pob dim os gwelwch nawr
            eisiau o'r i'r a'r sy'n mae'r wedi'i""",
        "en": """the and is are was were of for with you your this that have has had it its from at please
            will be or we our they any free if not but can my there here who what when where would all some
            to in on""",
    }.items()
}
_LETTERS = {"pl": re.compile("[ąćęłńśźż]"), "cy": re.compile("[ŵŷ]")}


def guess_language(text: str) -> str | None:
    """The language a resident probably wrote in, by script, letters and common words; None when unsure.

    A guess for a form field that people can change, never more.
    """
    sample = text[:2000]
    arabic = len(_ARABIC.findall(sample))
    lowered = sample.lower().replace("’", "'")
    words = _WORD.findall(lowered)
    if arabic:
        words = [word for word in words if not _ARABIC.match(word)]
        if arabic > sum(map(len, words)):
            return "ur" if len(_URDU.findall(sample)) * 20 >= arabic else "ar"
    score = {lang: sum(map(hints.__contains__, words)) for lang, hints in _HINTS.items()}
    for lang, letters in _LETTERS.items():
        if letters.search(lowered):
            score[lang] += sum(
                word not in _HINTS[lang] and letters.search(word) is not None for word in words
            )
    best = max(score, key=score.__getitem__)
    rest = max(points for lang, points in score.items() if lang != best)
    return best if score[best] > rest else None
