"""Turns views into pages: templates and static files held in memory, one stylesheet in the hub's colour.

A :class:`Renderer` reads everything it will ever need when it is built; afterwards neither it nor
its :class:`StaticFile` touch the disk.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from jinja2 import DictLoader, Environment, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from hub.domain.notices import Kind, Scope
from hub.web import views
from hub.web.compiled import CompiledTemplates
from hub.web.richtext import NEEDS_INTERNET
from hub.web.views import View, Words
from hub.words import N_

IMMUTABLE = "public, max-age=31536000, immutable"
"""``Cache-Control`` of static files: their names change with their bytes."""


@dataclass(frozen=True, slots=True)
class HouseColour:
    """What a hub paints its board with: ``light`` on paper and under white words by day, ``dark``
    for words and edges on a dark wall, ``night`` for the band behind light words at night."""

    name: str
    light: str
    dark: str
    night: str


HOUSE_COLOURS: Mapping[str, HouseColour] = MappingProxyType(
    {
        colour.name: colour
        for colour in (
            HouseColour("moss", "#0a5a48", "#6fdcba", "#0b3b30"),
            HouseColour("damson", "#7a2a5f", "#e79ccd", "#4a1a3b"),
            HouseColour("harbour", "#1c4f8f", "#8fbcf5", "#16325a"),
            HouseColour("brick", "#96400f", "#f3a06c", "#5a2709"),
            HouseColour("heather", "#5a3b94", "#c3abf5", "#38245f"),
            HouseColour("olive", "#525c1a", "#c6d26f", "#353c10"),
            HouseColour("peacock", "#075a6e", "#7fd3e6", "#083c48"),
            HouseColour("slate", "#3f4d5d", "#b3c2d4", "#28323e"),
        )
    }
)
"""The colours a hub can choose. Red is missing on purpose: it means urgent."""
UNKNOWN_COLOUR = "slate"
"""The edge of what comes from a hub whose colour is not known."""

_FLAG = 24
"""Pixels of string for each flag."""
_PAPER, _NIGHT = "#f3f1ea", "#0f1413"


def mix(one: str, other: str, share: float) -> str:
    """The ``#rrggbb`` colour made of ``share`` (0..1) of ``one`` and the rest of ``other``."""
    pairs = ((int(one[at : at + 2], 16), int(other[at : at + 2], 16)) for at in (1, 3, 5))
    return "#" + "".join(f"{round(a * share + b * (1 - share)):02x}" for a, b in pairs)


def palette(house: HouseColour) -> tuple[dict[str, str], dict[str, str]]:
    """Every colour of the stylesheet by its name, for light and for dark screens."""
    light = {
        "wall": mix(house.light, _PAPER, 0.05),
        "card": "#fff",
        "ink": "#17211c",
        "soft": "#46554d",
        "rule": mix(house.light, "#c9cbc3", 0.12),
        "field": "#6b7a72",
        "house": house.light,
        "on-house": "#fff",
        "band": house.light,
        "on-band": "#fff",
        "band-soft": mix(house.light, "#ffffff", 0.14),
        "sun": "#ffd43b",
        "on-sun": "#17211c",
        "alarm": "#a4161a",
        "wash": "#fdecea",
    }
    dark = {
        "wall": mix(house.light, _NIGHT, 0.08),
        "card": mix(house.light, "#1b2321", 0.12),
        "ink": "#eaf1ec",
        "soft": "#b0beb6",
        "rule": mix(house.dark, "#2c3533", 0.14),
        "field": "#86968d",
        "house": house.dark,
        "on-house": mix(house.light, "#0a0f0d", 0.2),
        "band": house.night,
        "on-band": "#f1f8f4",
        "band-soft": mix(house.night, "#e9efec", 0.18),
        "sun": "#ffd43b",
        "on-sun": "#17211c",
        "alarm": "#ff9c94",
        "wash": "#35191a",
    }
    light.update({colour.name: colour.light for colour in HOUSE_COLOURS.values()})
    dark.update({colour.name: colour.dark for colour in HOUSE_COLOURS.values()})
    return light, dark


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file under ``/static/``: its hashed ``name``, its ``body``, and the same gzipped."""

    name: str
    body: bytes
    gzipped: bytes
    content_type: str

    @property
    def path(self) -> str:
        return f"/static/{self.name}"


class Renderer:
    """Makes pages of views.

    Built once, off the event loop (it reads the package's files). ``house`` is this hub's colour and
    ``neighbours`` the colours of the hubs it is connected to, names of :data:`HOUSE_COLOURS`; the
    bunting has a flag for each. Build another one when they change. Raises KeyError for a colour
    that is not there.
    """

    def __init__(self, house: str = "moss", neighbours: Iterable[str] = ()) -> None:
        self.house = HOUSE_COLOURS[house]
        flags = [HOUSE_COLOURS[name] for name in neighbours if name != house] or [self.house]
        folder = resources.files("hub.web")
        styles = _stylesheet(_read(folder / "static" / "hub.css"), self.house, flags)
        paper = _smaller_css(_read(folder / "static" / "paper.css"))
        files = {
            "css": _static("hub", "css", styles),
            "paper_css": _static("paper", "css", paper),
            "files_css": _static("files", "css", _smaller_css(_read(folder / "static" / "files.css"))),
            "board_js": _static("board", "js", _smaller_script(_read(folder / "static" / "board.js"))),
            "draft_js": _static("draft", "js", _smaller_script(_read(folder / "static" / "draft.js"))),
            "upload_js": _static("upload", "js", _smaller_script(_read(folder / "static" / "upload.js"))),
        }
        self.static: Mapping[str, StaticFile] = MappingProxyType({file.name: file for file in files.values()})
        """The static files by the name that follows ``/static/``."""
        self._symbols = _symbols(_read(folder / "static" / "icons.svg"))
        sources = {entry.name: _read(entry) for entry in (folder / "templates").iterdir() if entry.is_file()}
        self._environment = _environment(sources)
        self._environment.globals.update({name: file.path for name, file in files.items()})
        self._environment.globals.update(favicon=_favicon(self.house), theme=self.house)
        compiled = CompiledTemplates(
            Path(__file__).parent / "__pycache__" / "templates", _read(folder / "rendering.py")
        )
        if compiled.keeps:
            self._environment.bytecode_cache = compiled
            for name in sources:
                self._environment.get_template(name)
            self._environment.bytecode_cache = None

    def page(self, view: View, words: Words) -> str:
        """``view`` as a complete document in the language of ``words``.

        A template that could not be kept compiled is compiled when it is first used, which reads no file.
        """
        template = self._environment.get_template(view.template)
        text = template.render(view=view, page=view.page, words=words)
        return text.replace("<!--icons-->", self._sprite(text), 1)

    def _sprite(self, text: str) -> str:
        """The symbols ``text`` uses; icon references cannot come from residents, whose ``<`` is escaped."""
        used = dict.fromkeys(re.findall(r'<use href="#i-(\w+)"/>', text))
        if not used:
            return ""
        symbols = "".join(self._symbols[name] for name in used)
        return f'<svg class="defs" aria-hidden="true" focusable="false">{symbols}</svg>'


def _environment(sources: Mapping[str, str]) -> Environment:
    environment = Environment(
        loader=DictLoader(sources),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
        auto_reload=False,
    )
    environment.install_gettext_callables(_gettext, _ngettext, newstyle=True)  # type: ignore[attr-defined]
    environment.globals.update(
        Kind=Kind,
        Scope=Scope,
        views=views,
        picture_path=views.picture_path,
        zip=zip,
    )
    environment.filters.update(rich=_rich, iso=_iso, urn=_urn, with_lang=_with_lang)
    return environment


@pass_context
def _gettext(context: Context, message: str) -> str:
    words: Words = context["words"]
    return words.gettext(message)


@pass_context
def _ngettext(context: Context, singular: str, plural: str, n: int) -> str:
    words: Words = context["words"]
    return words.ngettext(singular, plural, n)


@pass_context
def _rich(context: Context, html: str) -> Markup:
    """Rendered resident text, with the reader's words for what needs the internet."""
    words: Words = context["words"]
    return Markup(html.replace(NEEDS_INTERNET, str(Markup.escape(words.gettext(N_(", needs internet"))))))  # noqa: S704 - sanitised by richtext


def _iso(ms: int) -> str:
    """Unix milliseconds as RFC 3339 in UTC, whole seconds."""
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _urn(ident: bytes) -> str:
    """The first 16 bytes of an id as a URN (RFC 4122), the same on every hub."""
    return uuid.UUID(bytes=ident[:16]).urn


def _with_lang(here: str, lang: str) -> str:
    return f"{here}{'&' if '?' in here else '?'}lang={lang}"


_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}


def _static(stem: str, suffix: str, text: str) -> StaticFile:
    body = text.encode()
    digest = hashlib.sha256(body).hexdigest()[:10]
    return StaticFile(f"{stem}-{digest}.{suffix}", body, gzip.compress(body, 9, mtime=0), _TYPES[suffix])


def _read(file: resources.abc.Traversable) -> str:
    return file.read_text(encoding="utf-8")


def _stylesheet(source: str, house: HouseColour, flags: list[HouseColour]) -> str:
    light, dark = palette(house)
    used = {house.name, *(flag.name for flag in flags), UNKNOWN_COLOUR}
    for spare in HOUSE_COLOURS.keys() - used:
        del light[spare], dark[spare]
    night = {name: value for name, value in dark.items() if value != light[name]}
    bunting, swag = _bunting(flags)
    head = (
        f":root{{color-scheme:light dark;{_properties(light)};--bunting:{bunting};--swag:{swag}}}"
        f"@media(prefers-color-scheme:dark){{:root{{{_properties(night)}}}}}"
    )
    tabs = "".join(f".by-{name}{{--edge:var(--{name})}}" for name in HOUSE_COLOURS if name in used)
    return head + _smaller_css(source) + tabs


def _properties(colours: Mapping[str, str]) -> str:
    return ";".join(f"--{name}:{value}" for name, value in colours.items())


def _bunting(flags: list[HouseColour]) -> tuple[str, str]:
    """One swag of bunting: stripes in the colours of the sun and of each hub, and the mask that cuts
    a sagging string and a flag out of every stripe."""
    wheel = ["sun", *(flag.name for flag in flags)]
    stripes = ",".join(f"var(--{name}) 0 {place * _FLAG}px" for place, name in enumerate(wheel, 1))
    width = 8 * _FLAG
    path = [f"M0 0Q{width // 2} 14 {width} 0v2Q{width // 2} 16 0 2z"]
    for left in range(2, width, _FLAG):
        right, middle = left + _FLAG - 4, left + _FLAG // 2 - 2
        start, end, tip = (_sag(x / width) for x in (left, right, middle))
        path.append(f"M{left} {start}L{right} {end} {middle} {tip + 17}z")
    size = f"width='{width}' height='28'"
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' {size}><path d='{''.join(path)}'/></svg>"
    return (
        f"linear-gradient(90deg,{stripes}) 0/{len(wheel) * _FLAG}px repeat-x",
        'url("data:image/svg+xml,' + quote(svg, safe=" ='/:") + '") 0/auto repeat-x',
    )


def _sag(share: float) -> int:
    """How far the string hangs (in px) at ``share`` of its swag."""
    return round(28 * share * (1 - share))


def _favicon(house: HouseColour) -> str:
    flag = (
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 9 8'>"
        f"<path fill='{house.light}' d='M0 0h9L4.5 8z'/></svg>"
    )
    return f"data:image/svg+xml,{quote(flag, safe=' =/:')}".replace(" ", "%20")


def _symbols(sheet: str) -> dict[str, str]:
    return {
        found[1]: found[0].strip().replace('id="', 'id="i-', 1)
        for found in re.finditer(r'<symbol id="(\w+)".*?</symbol>', sheet, re.DOTALL)
    }


def _smaller_css(source: str) -> str:
    """``source`` without comments and needless space; good for our own stylesheets, not for any."""
    text = re.sub(r"/\*.*?\*/", "", source, flags=re.DOTALL)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r" ?([{};,>]) ?", r"\1", text)
    return re.sub(r": (?=[^{}]*[;}])", ":", text).replace(";}", "}").strip()


def _smaller_script(source: str) -> str:
    """``source`` without whole-line comments, indentation and empty lines."""
    lines: Iterator[str] = (line.strip() for line in source.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))
