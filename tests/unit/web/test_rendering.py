"""The look: checked colours, small files, pages that hold what they are given."""

import gettext
import gzip
import re
from html.parser import HTMLParser
from zoneinfo import ZoneInfo

import pytest

from hub.domain.ids import HubId, ObjectId
from hub.domain.notices import Kind, Notice, Scope, State
from hub.web import views
from hub.web.qr import address_for, svg
from hub.web.rendering import HOUSE_COLOURS, Renderer, mix, palette
from hub.web.richtext import NEEDS_INTERNET
from hub.words.catalogues import Catalogue

NOW = 1_795_430_000_000
HOUR = 3_600_000
ENGLISH = Catalogue("en", gettext.NullTranslations(), ZoneInfo("Europe/London"))
RENDERER = Renderer("moss", ("damson", "harbour", "brick"))
MILL_LANE = views.Place("Mill Lane Hub", "damson")


def a_notice(
    title: str = "Can anyone lend a tall ladder?", text: str = "Gutters are full.", **changes: object
) -> Notice:
    values: dict[str, object] = {
        "obj": ObjectId(bytes(16)), "public_id": "7k3q9hfm2a", "hub": HubId(bytes(32)), "kind": Kind.ASK,
        "title": title, "text": text, "lang": "en", "scope": Scope.HUB, "name": "Amina",
        "contact": "", "pictures": (),
        "shown_ms": NOW - HOUR, "edited_ms": None, "expires_ms": NOW + 672 * HOUR, "state": State.LIVE,
        "changed_ms": NOW - HOUR, "reply_count": 3, "hidden": False, "pinned": False, "official": False,
    }  # fmt: skip
    return Notice(**{**values, **changes})  # type: ignore[arg-type]


def a_page(**changes: object) -> views.Page:
    values: dict[str, object] = {
        "hub_name": "Tanyard Road Hub", "address": "http://tanyard-road.local", "now_ms": NOW,
        "other_addresses": ("http://192.168.4.1:8080",), "neighbours": (MILL_LANE,), "caretaker": "Sam",
    }  # fmt: skip
    return views.Page(**{**values, **changes})  # type: ignore[arg-type]


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    shares = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, "contrast ratio"."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", HOUSE_COLOURS)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_house_colour_can_be_read_by_day_and_by_night(name: str, dark: bool) -> None:
    colours = palette(HOUSE_COLOURS[name])[dark]
    words = [
        ("ink", "wall"), ("ink", "card"), ("soft", "wall"), ("soft", "card"), ("house", "wall"),
        ("house", "card"), ("on-house", "house"), ("on-band", "band"), ("band-soft", "band"),
        ("alarm", "wash"), ("alarm", "card"), ("alarm", "wall"), ("ink", "wash"),
        ("soft", "wash"), ("on-sun", "sun"), ("wall", "ink"),
        *((edge, "card") for edge in HOUSE_COLOURS),
    ]  # fmt: skip
    lines = [("field", "wall"), ("field", "card"), ("ink", "wall"), ("sun", "band")]
    assert {pair: ratio for pair in words if (ratio := contrast(*(colours[one] for one in pair))) < 4.5} == {}
    assert {pair: ratio for pair in lines if (ratio := contrast(*(colours[one] for one in pair))) < 3} == {}


def test_mixing_is_linear() -> None:
    assert mix("#ffffff", "#000000", 0.5) == "#808080"
    assert mix("#123456", "#ffffff", 1) == "#123456"


def test_styles_and_scripts_stay_small_and_their_names_follow_their_bytes() -> None:
    sizes = {re.sub("-[0-9a-f]{10}", "", name): len(file.gzipped) for name, file in RENDERER.static.items()}
    assert sizes.keys() == {"hub.css", "paper.css", "files.css", "board.js", "draft.js", "upload.js"}
    assert sizes["hub.css"] <= 4_000
    assert sizes["board.js"] + sizes["draft.js"] <= 3_000
    assert sizes["upload.js"] + sizes["draft.js"] <= 3_000
    assert sizes["files.css"] <= 1_000
    for file in RENDERER.static.values():
        assert gzip.decompress(file.gzipped) == file.body
        assert file.path == f"/static/{file.name}"
    assert "hub" not in {
        name.split("-")[0] for name in RENDERER.static.keys() & Renderer("heather").static.keys()
    }


def test_the_scripts_keep_to_what_old_phones_understand() -> None:
    for name, file in RENDERER.static.items():
        if name.endswith(".js"):
            assert not re.search(
                r"=>|`|\b(let|const|class|async|await|randomUUID|eval)\b", file.body.decode()
            )


class Checker(HTMLParser):
    """Notes what a page must not have, and its headings, ids and references to ids."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.h1 = 0
        self.ids: list[str] = []
        self.wanted: set[str] = set()
        self.bad: list[str] = []
        self.elements = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements += 1
        self.h1 += tag == "h1"
        for name, value in attrs:
            if name == "style" or name.startswith("on") or (value or "").startswith(("http:", "//")):
                self.bad.append(f"{tag} {name}={value}")
            if name == "id":
                self.ids.append(value or "")
            if name in ("for", "aria-describedby", "aria-labelledby"):
                self.wanted.update((value or "").split())
            if name == "href" and (value or "").startswith("#"):
                self.wanted.add((value or "")[1:])


def a_card(notice: Notice, **changes: object) -> views.Card:
    return views.Card(notice=notice, excerpt=notice.text, **changes)  # type: ignore[arg-type]


def pages() -> dict[str, views.View]:
    notice = a_notice(title="A <b> & 100 %", lang="ur", contact="knock")
    page = a_page(
        message=views.Message(views.Done.TAKEN_DOWN, "/notices/7k3q9hfm2a/restore"),
        banners=tuple(views.Banner),
    )
    errors = {"title": "Give it a title.", "kind": "Choose.", "": "Nothing was put up."}
    ref = views.ReportOutcome("7k3q", views.ReportState.KEPT, NOW, NOW, "2. Be kind 100 %", "Thank you.")
    reasons = (views.Choice("unsure", "I am not sure"),)
    facts = views.PrivacyFacts(
        mode=views.PostingMode.OPEN, held_first=2, default_days=28, longest_days=400, undo_minutes=30,
        cookie_days=730, limit_minutes=10, report_days=180,
    )  # fmt: skip
    days = (views.Day(NOW, (a_card(notice, origin=MILL_LANE, html="<p>x</p>"),)),)
    code = svg("http://tanyard-road.local/")
    made: list[views.View] = [
        views.BoardPage(
            page=page, days=days, first=(a_card(a_notice(pinned=True)),), older="c", kind=Kind.ASK
        ),
        views.NoticePage(
            page=page, notice=notice, html="<p>x</p>", short="x", phrase="a b c d", errors={"text": "Type."}
        ),
        views.NoticeFormPage(
            page=page, key="k", errors=errors, kept=(views.KeptPicture("t", "/p.jpg", 1, 1),)
        ),
        views.NoticeFormPage(page=page, key="k", notice=notice, needs_phrase=True),
        *(
            views.AuthorPage(page=page, act=act, notice=notice, needs_phrase=True, until_ms=NOW)
            for act in views.Act
        ),
        views.ReplyFormPage(page=page, notice=notice, key="k", errors={"text": "Type."}),
        views.ReportPage(
            page=page,
            title=notice.title,
            lang=notice.lang,
            excerpt="x",
            path="/notices/7k3q9hfm2a",
            action="/notices/7k3q9hfm2a/report",
            reasons=reasons,
            errors={"reason": "Choose."},
        ),
        views.ReportsPage(page=page, outcome=ref, thanks=True),
        views.ReportsPage(page=page, outcome=ref, errors={"ref": "Not found."}),
        views.SearchPage(
            page=page,
            query="100 %",
            hits=(views.SearchHit(card=days[0].cards[0], title_html="<mark>A</mark>", excerpt_html="x"),),
        ),
        views.SearchPage(page=page, query="none"),
        views.DecisionsPage(page=page),
        views.AboutPage(
            page=page, rules=("Be kind 100 %.",), rules_version="1", rules_ms=NOW, mode=views.PostingMode.OPEN
        ),
        views.BoardPage(page=page, days=days, origin=MILL_LANE, older="c"),
        views.BoardPage(page=page, origin=MILL_LANE),
        views.NeighboursPage(page=page),
        views.NeighboursPage(
            page=page,
            neighbours=(
                views.NeighbourShown(MILL_LANE, views.Swap.BOTH_WAYS, views.Swap.HELD, paused=True),
                views.NeighbourShown(MILL_LANE, views.Swap.HELD, views.Swap.NONE, False, NOW, 12),
                views.NeighbourShown(MILL_LANE, views.Swap.NONE, views.Swap.BOTH_WAYS, False, NOW),
            ),
            further=(MILL_LANE,),
        ),
        views.PrivacyPage(page=page, facts=facts),
        views.HelpPage(page=page),
        views.PosterPage(page=page, notice=notice, html="<p>x</p>", short="x", qr=code),
        views.PrintPage(page=page, days=days, qr=code, large=True),
        views.ScreenPage(page=page, cards=days[0].cards, qr=code),
        *(
            views.ErrorPage(page=page, status=status)
            for status in (400, 403, 404, 410, 413, 415, 421, 422, 429, 500, 503, 507)
        ),
    ]
    return {f"{number}-{view.template}": view for number, view in enumerate(made)}


@pytest.mark.parametrize("name", pages())
def test_every_page_is_whole(name: str) -> None:
    view = pages()[name]
    text = RENDERER.page(view, ENGLISH)
    seen = Checker(text)
    expected = (
        ["http://tanyard-road.local/", "http://192.168.4.1:8080/"]
        if "421" in text or view.template == "error.html"
        else []
    )
    assert [bad for bad in seen.bad if bad.removeprefix("a href=") not in expected] == []
    assert seen.h1 == 1
    assert len(seen.ids) == len(set(seen.ids))
    assert seen.wanted <= set(seen.ids)
    assert seen.elements < 1_400
    assert "<!--icons-->" not in text
    assert NEEDS_INTERNET not in text
    if isinstance(view, views.Form) and view.errors:
        assert re.search(r"<title>Error: ", text)
        assert 'role="alert" tabindex="-1" autofocus' in text


def test_what_residents_wrote_is_escaped() -> None:
    text = RENDERER.page(pages()["0-board.html"], ENGLISH)
    assert "A &lt;b&gt; &amp; 100 %" in text
    assert "A <b>" not in text


def test_a_refused_form_comes_back_filled_in() -> None:
    typed = {
        "title": 'A "tall" ladder',
        "text": "\nTwo\n  lines",
        "kind": "ask",
        "until": "next week",
        "scope": "hub",
        "lang": "pl",
    }
    text = RENDERER.page(
        views.NoticeFormPage(page=a_page(), values=typed, errors={"until": "Type a date."}), ENGLISH
    )
    assert 'value="A &#34;tall&#34; ladder"' in text
    assert ">\n\nTwo\n  lines</textarea>" in text
    assert re.search(r'value="ask"[^>]* checked', text)
    assert re.search(r'value="hub"[^>]* checked', text)
    assert re.search(r'type="text" value="next week"', text)
    assert re.search(r'value="pl"[^>]* selected', text)
    assert re.search(r'<details class="more" open>', text)
    assert 'aria-describedby="until-e" aria-invalid="true"' in text


def test_a_board_of_twenty_notices_is_small_at_the_first_and_at_the_second_visit() -> None:
    words = "Gutters at number {} are full. I need it for one afternoon and will bring back cake number {}."
    cards = tuple(
        a_card(
            a_notice(
                f"Notice {n * 7919} about ladder {n * 104729}",
                words.format(n * 31, n * 17),
                public_id=f"7k{n:08}",
            )
        )
        for n in range(20)
    )
    page = RENDERER.page(views.BoardPage(page=a_page(), days=(views.Day(NOW, cards),), older="x"), ENGLISH)
    html = len(gzip.compress(page.encode(), 9))
    used = [file for file in RENDERER.static.values() if file.path in page]
    headers = 700
    assert len(used) + 1 <= 3
    assert html + headers <= 6_000
    assert html + sum(len(file.gzipped) for file in used) + headers <= 10_000


def test_the_atom_feed_carries_the_text_escaped_and_stable_ids() -> None:
    card = a_card(
        a_notice("A & B"), html=f'<p>x <a href="http://e.example">e</a> (e.example{NEEDS_INTERNET})</p>'
    )
    feed = RENDERER.page(
        views.AtomFeed(page=a_page(), hub=HubId(bytes(32)), cards=(card,), updated_ms=NOW), ENGLISH
    )
    assert feed.startswith('<?xml version="1.0" encoding="utf-8"?>')
    assert "<title>A &amp; B</title>" in feed
    assert "&lt;a href=&#34;http://e.example&#34;&gt;e&lt;/a&gt; (e.example, needs internet)" in feed
    assert "<id>urn:uuid:00000000-0000-0000-0000-000000000000</id>" in feed


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Can anyone lend a tall ladder?", "can-anyone-lend-a-tall-ladder"),
        ("Café & Łódź’s ‘do’", "cafe-łodzs-do"),
        ("جمعرات کو چائے", "جمعرات-کو-چائے"),
        ("বাংলা বই", "বাংলা-বই"),
        ("../../etc?x=#y", "etc-x-y"),
        ("!!!", ""),
    ],
)
def test_a_slug_is_readable_and_cannot_leave_its_address(title: str, expected: str) -> None:
    assert views.slug(title) == expected
    assert len(views.slug(title * 40)) <= 36


def test_the_screen_turns_to_the_first_leaf_after_the_last_and_stands_still_when_asked() -> None:
    screen = views.ScreenPage(page=a_page(), leaf=3, leaves=3, qr="")
    assert screen.refresh == "20;url=/screen?leaf=1"
    assert views.ScreenPage(page=a_page(), qr="", stay=True).refresh == ""


@pytest.mark.parametrize(
    ("url", "carried"),
    [
        ("http://hub.local/n/7k3q", "HTTP://HUB.LOCAL/N/7K3Q"),
        ("http://hub.local/", "HTTP://HUB.LOCAL/"),
        ("http://hub.local/notices/7k3q-ladder", "http://hub.local/notices/7k3q-ladder"),
        ("http://hub.local/?a=b", "http://hub.local/?a=b"),
    ],
)
def test_a_qr_code_is_in_capitals_where_the_hub_answers_to_them(url: str, carried: str) -> None:
    assert address_for(url) == carried
    assert svg(url).startswith("<svg ")
