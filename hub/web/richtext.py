"""Residents' text as HTML: paragraphs, line breaks, lists, emphasis and links, and nothing else.

The source text is what is stored and signed; HTML is made from it once and kept by the caller.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from markdown_it.token import Token

TAGS = frozenset({"p", "br", "ul", "ol", "li", "strong", "em", "a"})
SCHEMES = frozenset({"http", "https", "mailto", "tel"})
REL = "nofollow noopener noreferrer ugc"

NEEDS_INTERNET = "\ue000"
"""Stands in rendered text where the reader's words for "needs internet" go; pages put them in."""

_UNWANTED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffe\uffff\ue000\ud800-\udfff]"
)
_BARE_LINK = re.compile(r"\b(?:https?://|mailto:|tel:)[^\s<>\"“”«»]+", re.IGNORECASE)
_AFTER_LINK = ".,;:!?'’…)]}*_،؛؟۔"
_WORDED_LINK = re.compile(r"\[([^\]\n]*)\]\([^)\s]*\)")
_LIST_MARK = re.compile(r"^\s*[-+*]\s+", re.MULTILINE)
_EMPHASIS = re.compile(r"(\*\*|__|(?<!\w)[*_])(?=\S)(.+?)(?<=\S)\1(?!\w)")


def without_overrides(text: str) -> str:
    """``text`` with Unix line ends and without control characters and the signs that reorder what
    follows them (U+202A to U+202E, U+2066 to U+2069), which make one name look like another."""
    return _UNWANTED.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def excerpt(text: str, length: int) -> str:
    """The beginning of ``text`` as one plain line of at most ``length`` (at least 1) characters.

    Cut between words where there is one to cut at; what was cut is marked with an ellipsis.
    """
    plain = _LIST_MARK.sub("", _WORDED_LINK.sub(r"\1", without_overrides(text)))
    for _ in range(2):
        plain = _EMPHASIS.sub(r"\2", plain)
    plain = " ".join(plain.split())
    if len(plain) <= length:
        return plain
    head = plain[: length - 1]
    if not plain[length - 1].isspace() and " " in head[length // 2 :]:
        head = head[: head.rindex(" ")]
    while head and (unicodedata.combining(plain[len(head)]) or head[-1] == "\u200d"):
        head = head[:-1]
    return head.rstrip(" ,;:،؛-–") + "…"


def marked(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """``text`` as HTML with each span (start, end; in characters, in order, apart) in ``<mark>``."""
    pieces = []
    position = 0
    for start, end in spans:
        pieces += [html.escape(text[position:start]), "<mark>", html.escape(text[start:end]), "</mark>"]
        position = end
    pieces.append(html.escape(text[position:]))
    return "".join(pieces)


class RichText:
    """Turns source text into HTML of eight tags.

    Building one imports the parser (about 20 ms of CPU, files read): build one, and only when it is needed.
    ``own_hosts`` are the names and addresses of this hub, links to which are not marked as leading
    away.
    """

    def __init__(self, own_hosts: Collection[str] = ()) -> None:
        import nh3
        from markdown_it import MarkdownIt
        from markdown_it.token import Token

        self._own_hosts = frozenset(host.lower() for host in own_hosts)
        self._token = Token
        self._parser = MarkdownIt("zero", {"breaks": True}).enable(["emphasis", "list", "link", "newline"])
        self._parser.validateLink = _may_lead_to  # type: ignore[assignment,method-assign]
        self._clean = nh3.Cleaner(
            tags=set(TAGS),
            attributes={"a": {"href"}, "ol": {"start"}},
            url_schemes=set(SCHEMES),
            link_rel=REL,
        )

    def html(self, text: str) -> str:
        """``text`` as HTML: only :data:`TAGS`, only links to :data:`SCHEMES`.

        A link that leads away is followed by its host and :data:`NEEDS_INTERNET` in brackets.
        """
        tokens = self._parser.parse(without_overrides(text))
        for token in tokens:
            if token.children:
                token.children = list(self._with_links(token.children))
        rendered = self._parser.renderer.render(tokens, self._parser.options, {})
        return self._clean.clean(rendered).strip()

    def _with_links(self, tokens: Iterable[Token]) -> Iterator[Token]:
        target = ""
        for token in tokens:
            if token.type == "link_open":
                target = str(token.attrGet("href") or "")
                yield token
            elif token.type == "link_close":
                yield token
                yield from self._where_to(target)
                target = ""
            elif token.type == "text" and not target:
                yield from self._bare_links(token.content)
            else:
                yield token

    def _bare_links(self, content: str) -> Iterator[Token]:
        position = 0
        for found in _BARE_LINK.finditer(content):
            address = found.group()
            while address and address[-1] in _AFTER_LINK:
                if address[-1] == ")" and address.count("(") >= address.count(")"):
                    break
                address = address[:-1]
            target = self._parser.normalizeLink(address)
            if not _may_lead_to(target):
                continue
            yield self._text(content[position : found.start()])
            yield self._token("link_open", "a", 1, attrs={"href": target})
            yield self._text(address)
            yield self._token("link_close", "a", -1)
            yield from self._where_to(target)
            position = found.start() + len(address)
        yield self._text(content[position:])

    def _where_to(self, target: str) -> Iterator[Token]:
        parts = urlsplit(target)
        host = parts.hostname or ""
        if parts.scheme not in ("http", "https") or host in self._own_hosts:
            return
        yield self._text(f" ({host})" if _is_near(host) else f" ({host}{NEEDS_INTERNET})")

    def _text(self, content: str) -> Token:
        return self._token("text", "", 0, content=content)


def _may_lead_to(target: str) -> bool:
    try:
        parts = urlsplit(target)
        return parts.scheme in SCHEMES and bool(parts.hostname if parts.scheme[:4] == "http" else parts.path)
    except ValueError:
        return False


def _is_near(host: str) -> bool:
    """Whether ``host`` is on the local network as far as its name tells."""
    if host.endswith((".local", ".lan", ".home.arpa")) or ("." not in host and ":" not in host):
        return True
    try:
        return ip_address(host.strip("[]")).is_private
    except ValueError:
        return False
