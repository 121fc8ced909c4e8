"""The pages of the file share hold what they are given, whole and escaped."""

import dataclasses
import gettext
import re
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from hub.domain.files import Collection, Family, File, Licence, MayAdd, media_of
from hub.domain.ids import HubId, ObjectId
from hub.domain.notices import BlobRef, Picture, Scope, State
from hub.web import views
from hub.web.rendering import Renderer
from hub.words.catalogues import Catalogue

NOW = 1_795_430_000_000
HOUR = 3_600_000
ENGLISH = Catalogue("en", gettext.NullTranslations(), ZoneInfo("Europe/London"))
RENDERER = Renderer("moss", ("damson",))
MILL_LANE = views.Place("Mill Lane Hub", "damson")
THUMB = BlobRef("b" * 64, 9_000, "c" * 64)


def a_file(name: str = "Minutes & more.pdf", size: int = 84_300, **changes: object) -> File:
    file = File(
        obj=ObjectId(bytes(16)), public_id="7k3q9hfm2a", hub=HubId(bytes(32)), collection=ObjectId(bytes(16)),
        name=name, blob=BlobRef("a" * 64, size, "c" * 64), description="", lang="en", author="Amina",
        picture=None, original=False, scope=Scope.HUB, shown_ms=NOW - HOUR, edited_ms=None,
        expires_ms=NOW + 90 * 24 * HOUR, state=State.LIVE, changed_ms=NOW - HOUR, hidden=False, key=1,
    )  # fmt: skip
    return dataclasses.replace(file, **changes)  # type: ignore[arg-type]


def a_picture(name: str = "Fête <1>.jpg", size: int = 800_000, alt: str = "") -> File:
    return a_file(name, size, picture=Picture(BlobRef("a" * 64, size, ""), 1280, 960, THUMB, 320, 240, alt))


def a_collection(**changes: object) -> Collection:
    collection = Collection(
        obj=ObjectId(bytes(16)), public_id="9hfm2a7k3q", hub=HubId(bytes(32)), title="Choir & <friends>",
        description="Recordings.", lang="en", owner="The choir", may_add=MayAdd.EVERYONE,
        licence=Licence.SHARE, lifetime_days=90, scope=Scope.HUB, shown_ms=NOW - HOUR, edited_ms=None,
        expires_ms=NOW + 400 * 24 * HOUR, state=State.LIVE, changed_ms=NOW - HOUR, hidden=False, files=2,
        size=1_234_000,
    )  # fmt: skip
    return dataclasses.replace(collection, **changes)  # type: ignore[arg-type]


def a_card(file: File | None = None, **changes: object) -> views.FileCard:
    collection = a_collection()
    card = views.FileCard(file=file or a_file(), collection=collection)
    return dataclasses.replace(card, **changes)  # type: ignore[arg-type]


def a_page(**changes: object) -> views.Page:
    page = views.Page(
        hub_name="Tanyard Road Hub", address="http://tanyard-road.local", now_ms=NOW, caretaker="Sam"
    )
    return dataclasses.replace(page, **changes)  # type: ignore[arg-type]


def shown(view: views.View) -> str:
    return RENDERER.page(view, ENGLISH)


def said(view: views.View) -> str:
    """The words of a page, without its elements."""
    main = re.search(r"<main.*</main>", shown(view), re.DOTALL)
    assert main
    return " ".join(re.sub("<[^>]+>", " ", main[0]).split())


LEFT = views.Left(4_000_000_000, 2_000_000_000)
LINES = tuple(
    views.ReceiptLine(name, "Menu.pdf", "/files/7k3q9hfm2a", outcome)
    for name, outcome in [
        ("Menu.pdf", "added"), ("Menu (2).pdf", "renamed"), ("Menu.pdf", "already-here"),
        ("Menu (3).pdf", "waiting"),
    ]
)  # fmt: skip


def every_page() -> dict[str, views.View]:
    page, collection = a_page(), a_collection()
    errors = {"file": "Choose at least one file.", "": "Not now."}
    pages: dict[str, views.View] = {
        "overview": views.FilesPage(
            page=page,
            cards=(views.CollectionCard(collection=collection, origin=MILL_LANE, newest=a_file()),),
            newest=(a_card(origin=MILL_LANE, excerpt="What was said."),),
            room=12_000_000_000,
        ),
        "nothing yet": views.FilesPage(page=page),
        "no room": views.FilesPage(page=page, room=0),
        "collection": views.CollectionPage(
            page=a_page(message=views.Message(views.Done.FILES_ADDED)), collection=collection,
            html="<p>Recordings.</p>", origin=MILL_LANE, cards=(a_card(mine=True),),
            pictures=(a_card(a_picture()),), waiting=(a_card(a_file("Held.pdf")),), receipt=LINES,
            phrase="one two three four", older="17",
        ),
        "empty collection": views.CollectionPage(page=page, collection=a_collection(files=0, size=0)),
        "full collection": views.CollectionPage(page=page, collection=collection, full=True, before="9"),
        "add": views.AddFilesPage(page=page, collection=collection, left=LEFT, key="k", checked_first=True),
        "refused": views.AddFilesPage(
            page=page, collection=collection, left=LEFT, key="k", errors=errors,
            arrived=(views.ArrivedFile("t", "Film.mp4", 2_000_000_000),), values={"photo": "keep"},
        ),
        "change": views.FileFormPage(
            page=page, file=a_file(), needs_phrase=True, values={"name": "A.pdf"}, errors={"name": "No."}
        ),
        **{
            str(act): views.FileActPage(
                page=page, act=act, public_id="7k3q9hfm2a", name="A.pdf", needs_phrase=True, until_ms=NOW
            )
            for act in views.Act
        },
        "put back from memory": views.FileActPage(page=page, act=views.Act.RESTORE, public_id="7k3q9hfm2a"),
        "found": views.SearchPage(
            page=page, query="menu", hits=(
                views.FileHit(card=a_card(), title_html="<mark>Menu</mark>.pdf", excerpt_html=""),
                views.CollectionHit(
                    card=views.CollectionCard(collection=collection), title_html="x",
                    excerpt_html="<mark>y</mark>",
                ),
            ),
        ),
    }  # fmt: skip
    for name, file in {
        "picture": a_picture(), "large picture": a_picture(size=9_000_000), "film": a_file("Fête.mp4"),
        "sound": a_file("Choir.mp3"), "text": a_file("Read me.txt"), "pdf": a_file(),
        "other": a_file("A.docx"),
    }.items():  # fmt: skip
        pages[name] = views.FilePage(
            page=page,
            card=a_card(file),
            html="<p>x</p>",
            newer=a_file("B.pdf"),
            older=a_file("C.pdf"),
            mine=True,
        )
    pages["waiting"] = views.FilePage(page=page, card=a_card(), waiting=True)
    pages["damaged"] = views.FilePage(page=page, card=a_card(a_picture()), here=False)
    return pages


@pytest.mark.parametrize("name", every_page())
def test_every_page_is_whole(name: str) -> None:
    view = every_page()[name]
    text = shown(view)
    assert len(re.findall(r"<h1\b", text)) == 1
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    wanted = {
        one
        for found in re.findall(r'\b(?:for|aria-describedby|aria-labelledby)="([^"]+)"', text)
        for one in found.split()
    }
    assert wanted <= set(ids)
    assert not re.search(r'\bstyle=|\bon\w+="|<friends>|Fête <1>', text)
    levels = [int(level) for level in re.findall(r"<h(\d)\b", text)]
    assert all(after - before <= 1 for before, after in pairwise(levels) if before)
    if isinstance(view, views.Form) and view.errors:
        assert "<title>Error: " in text


def test_the_overview_says_whose_how_many_how_large_and_who_may_add() -> None:
    words = said(every_page()["overview"])
    for part in (
        "Choir &amp; &lt;friends&gt;", "The choir", "2 files · 1.2 MB", "Everybody may add files.",
        "You may copy them and pass them on", "from Mill Lane Hub", "newest: Minutes &amp; more.pdf",
        "There is room for 12 GB more.", "Document ( PDF ) · 84 kB",
    ):  # fmt: skip
        assert part in words, part
    assert "There are no files yet." in said(every_page()["nothing yet"])
    assert "no room for more files" in said(every_page()["no room"])
    assert "Please tell Sam ." in said(every_page()["no room"])


def test_the_receipt_says_what_became_of_each_file_and_shows_the_words_once() -> None:
    words = said(every_page()["collection"])
    assert "Menu.pdf : added." in words
    assert "Menu.pdf is here already with other content, so yours is called Menu (2).pdf ." in words
    assert "the very same file is here already" in words
    assert "waiting until somebody who looks after the hub has looked at it." in words
    assert "one two three four" in words
    assert "Only you can see these until somebody" in words


def test_pictures_have_thumbnails_with_their_sizes_that_wait_until_they_are_seen() -> None:
    text = shown(every_page()["collection"])
    assert re.search(
        rf'<img src="/pictures/{"b" * 64}.jpg" width="320" height="240" alt="" loading="lazy">', text
    )


def test_who_may_not_add_is_not_asked_to() -> None:
    def offers(collection: Collection, **changes: object) -> bool:
        view = views.CollectionPage(page=a_page(), collection=collection)
        return "/add" in shown(dataclasses.replace(view, **changes))  # type: ignore[arg-type]

    assert offers(a_collection())
    assert offers(a_collection(may_add=MayAdd.CHECKED))
    assert not offers(a_collection(may_add=MayAdd.CARETAKERS))
    assert not offers(a_collection(), full=True)
    assert not offers(a_collection(), page=a_page(banners=(views.Banner.PAUSED,)))


def test_files_are_shown_by_what_a_browser_can_do_with_them() -> None:
    pages = {name: shown(view) for name, view in every_page().items()}
    where = "/files/7k3q9hfm2a/"
    assert f'<img src="{where}F%C3%AAte%20%3C1%3E.jpg" width="1280" height="960"' in pages["picture"]
    assert f'<img src="/pictures/{"b" * 64}.jpg"' in pages["large picture"]
    assert f'<video controls preload="metadata" src="{where}F%C3%AAte.mp4"' in pages["film"]
    assert f'<audio controls preload="metadata" src="{where}Choir.mp3"' in pages["sound"]
    for name in ("picture", "film", "sound", "text", "pdf"):
        assert re.search(r'<a class="go" href="/files/[^"?]+"', pages[name]), name
    assert not re.search(r'<a class="go" href="/files/[^"?]+"', pages["other"])
    assert f'href="{where}A.docx?download=1"' in pages["other"]
    assert 'rel="prev"' in pages["picture"]
    assert 'rel="next"' in pages["picture"]


def test_a_damaged_copy_is_neither_shown_nor_offered() -> None:
    text = shown(every_page()["damaged"])
    assert "This copy is damaged" in text
    assert "<img" not in text
    assert "download=1" not in text


def test_nobody_may_put_up_for_longer_what_does_not_end() -> None:
    stays = a_card(collection=a_collection(lifetime_days=0))
    assert "/extend" not in shown(views.FilePage(page=a_page(), card=stays))
    page = views.CollectionPage(page=a_page(), collection=stays.collection, cards=(stays,))
    assert not re.search("until [0-9]", said(page))
    assert re.search("until [0-9]", said(every_page()["collection"]))
    assert "/extend" in shown(views.FilePage(page=a_page(), card=a_card()))


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (LEFT, "You can add 4 GB more today. One file may have up to 2 GB."),
        (
            views.Left(500_000, 500_000, views.Shortage.CARD),
            "The hub’s card has room for 500 kB more. Sam can",
        ),
        (views.Left(5_000, 5_000, views.Shortage.COLLECTION), "This collection has room for 5 kB more."),
        (views.Left(0, 0, views.Shortage.DAY), "You have added as much as one phone may in a day."),
        (views.Left(0, 0, views.Shortage.CARD), "The hub’s card has no room for more files."),
        (views.Left(-1, 0, views.Shortage.COLLECTION), "This collection is full."),
    ],
)
def test_the_form_says_what_is_left_and_who_can_raise_it(left: views.Left, words: str) -> None:
    assert words in said(views.AddFilesPage(page=a_page(), collection=a_collection(), left=left, key="k"))


def test_words_come_before_the_files_so_that_they_arrive_with_files_that_are_too_large() -> None:
    form = shown(every_page()["refused"])
    order = [
        form.index(f'name="{name}"')
        for name in ("description", "lang", "photo", "key", "website", "upload", "file")
    ]
    assert order == sorted(order)
    assert re.search(r'name="upload" value="t" checked><span><bdi>Film.mp4</bdi> · 2 GB', form)
    assert re.search(r'name="photo" value="keep"[^>]* checked', form)


@pytest.mark.parametrize(
    ("name", "words", "icon", "ending"),
    [
        ("a.jpg", "Picture", "picture", "JPG"),
        ("a.heic", "Picture", "picture", "HEIC"),
        ("a.pdf", "Document", "pages", "PDF"),
        ("a.docx", "Document", "pages", "DOCX"),
        ("a.ods", "Table", "pages", "ODS"),
        ("a.mp3", "Sound recording", "sound", "MP3"),
        ("a.webm", "Film", "film", "WEBM"),
        ("a.tar.gz", "Packed files", "packed", "GZ"),
        ("a.svg", "Picture", "picture", "SVG"),
        ("a.html", "Web page", "pages", "HTML"),
        ("a", "File", "pages", ""),
        ("a.قائمة", "File", "pages", ""),
        ("a.unusual", "File", "pages", ""),
    ],
)
def test_a_file_is_named_by_what_people_call_its_kind(name: str, words: str, icon: str, ending: str) -> None:
    card = a_card(a_file(name))
    assert (card.words, card.icon, card.ending) == (words, icon, ending)


def test_what_a_browser_could_run_is_only_ever_a_download() -> None:
    for ending in ("svg", "html", "xml", "xhtml", "js", "htm", "swf"):
        assert media_of(f"a.{ending}").family is Family.OTHER


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("Menu (2).pdf", "/files/7k3q9hfm2a/Menu%20%282%29.pdf"),
        ("50 % #1?.txt", "/files/7k3q9hfm2a/50%20%25%20%231%3F.txt"),
        ("قائمة.pdf", "/files/7k3q9hfm2a/%D9%82%D8%A7%D8%A6%D9%85%D8%A9.pdf"),
        ("edit", "/files/7k3q9hfm2a/edit.file"),
    ],
)
def test_the_address_of_a_file_can_carry_any_name(name: str, path: str) -> None:
    assert views.bytes_path(a_file(name)) == path


def test_addresses_of_collections_and_their_archives_are_readable() -> None:
    assert (
        views.collection_path("9hfm2a7k3q", "The choir’s songs") == "/collections/9hfm2a7k3q-the-choirs-songs"
    )
    assert views.archive_path("9hfm2a7k3q", "Łódź") == "/collections/9hfm2a7k3q/%C5%82odz.zip"
    assert views.archive_path("9hfm2a7k3q", "!!!") == "/collections/9hfm2a7k3q/files.zip"
    assert views.file_path("7k3q9hfm2a", "Menu (2).pdf") == "/files/7k3q9hfm2a-menu-2-pdf"
