"""Residents' text becomes HTML of eight tags and nothing that runs."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.web.richtext import NEEDS_INTERNET, REL, SCHEMES, TAGS, RichText, excerpt, marked, without_overrides

RICH = RichText(["tanyard-road.local"])
PIECES = st.sampled_from(
    [
        *("<script>", "</p>", "<img src=x onerror=y>", "&#106;", "&lt;", '"', "'", "\\"),
        *("javascript:", "JaVaScRiPt:alert(1)", "data:text/html,x", "//evil.example", "http://"),
        *("https://example.org", "mailto:a@b.c", "tel:+44", "[", "](", ")", "**", "*", "_", "- ", "1. "),
        *("\n", "\n\n", " ", "\u202e", "\u2066", NEEDS_INTERNET, "\x00", "جمعرات"),
    ]
)
TEXTS = st.one_of(
    st.text(max_size=200), st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=25).map("".join)
)


class Inspector(HTMLParser):
    """Collects what a browser would make of some HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.links: list[str] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.add((tag, name))
            if name == "href":
                self.links.append(value or "")
            if name == "rel":
                assert value == REL

    def handle_data(self, data: str) -> None:
        self.words += data


@given(TEXTS)
def test_no_text_becomes_a_tag_an_attribute_or_a_scheme_outside_the_list(text: str) -> None:
    seen = Inspector(RICH.html(text))
    assert seen.tags <= TAGS
    assert seen.attributes <= {("a", "href"), ("a", "rel"), ("ol", "start")}
    assert all(link.split(":")[0].lower() in SCHEMES for link in seen.links)


@given(TEXTS)
def test_an_excerpt_is_one_line_no_longer_than_asked(text: str) -> None:
    for length in (1, 20, 160):
        short = excerpt(text, length)
        assert len(short) <= length
        assert "\n" not in short


@given(TEXTS)
def test_nothing_that_reorders_words_is_left(text: str) -> None:
    left = without_overrides(text) + RICH.html(text).replace(NEEDS_INTERNET, "") + excerpt(text, 50)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00]", left)


@given(st.text(max_size=60), st.lists(st.integers(0, 60), max_size=6))
def test_marking_changes_no_word(text: str, cuts: list[int]) -> None:
    places = sorted({min(cut, len(text)) for cut in cuts})
    spans = list(zip(places[::2], places[1::2], strict=False))
    html = marked(text, spans)
    assert Inspector(html).words == text
    assert set(re.findall(r"</?(\w+)>", html)) <= {"mark"}


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("One\n\nTwo", "<p>One</p>\n<p>Two</p>"),
        ("One\nTwo", "<p>One<br>\nTwo</p>"),
        ("- a\n- **b**", "<ul>\n<li>a</li>\n<li><strong>b</strong></li>\n</ul>"),
        ("3. December", '<ol start="3">\n<li>December</li>\n</ol>'),
        ("<b>#1</b> & `x`", "<p>&lt;b&gt;#1&lt;/b&gt; &amp; `x`</p>"),
        ("[j](javascript:alert(1))", "<p>[j](javascript:alert(1))</p>"),
        ("[up](//evil.example)", "<p>[up](//evil.example)</p>"),
    ],
)
def test_the_small_markdown_is_rendered(text: str, html: str) -> None:
    assert RICH.html(text) == html


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("See https://example.org/a_(b).", f"See https://example.org/a_(b) (example.org{NEEDS_INTERNET})."),
        ("[bank](https://bank.com@evil.example/)", f"bank (evil.example{NEEDS_INTERNET})"),
        ("http://tanyard-road.local/n/7k3q", "http://tanyard-road.local/n/7k3q"),
        ("http://192.168.4.1/x", "http://192.168.4.1/x (192.168.4.1)"),
        ("http://mill-lane.local", "http://mill-lane.local (mill-lane.local)"),
        ("mailto:jo@example.org", "mailto:jo@example.org"),
    ],
)
def test_a_link_says_where_it_leads_and_whether_that_needs_the_internet(text: str, words: str) -> None:
    assert Inspector(RICH.html(text)).words == words


def test_an_excerpt_is_cut_between_words_and_without_marks() -> None:
    assert excerpt("- **Soup** on\n\n[Friday](http://x.example) at noon", 20) == "Soup on Friday at…"
    assert excerpt("snake_case 2*3*4", 30) == "snake_case 2*3*4"
