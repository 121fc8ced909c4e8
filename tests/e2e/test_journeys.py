"""What residents do, from the first tap to what everybody sees, on phones of all kinds."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image
from playwright.async_api import Browser, Page, Response

from hub.domain.notices import MAX_TEXT, Kind
from hub.runtime.system_clock import SystemClock
from hub.words.catalogues import Catalogues
from tests.e2e.browser import visitor
from tests.e2e.hub_process import HOST, HubProcess
from tests.world_content.pictures import photograph

_FOLDED = "main details:not([open]) > summary"
MESSAGE, PHRASE, PROBLEM = ".done", ".phrase .words", ".problem"
HEIC = b"\0\0\0\x24ftypheic\0\0\0\0mif1heic" + bytes(99)


async def press(page: Page, what: str) -> Response:
    """Press a button or link and wait for the page it leads to."""
    async with page.expect_navigation() as navigation:
        await page.locator(what).first.click()
    response = await navigation.value
    assert response is not None
    return response


async def write(
    page: Page,
    hub: HubProcess,
    title: str,
    text: str = "Ask at number 14.",
    *,
    kind: Kind = Kind.GIVE,
    pictures: Sequence[Path] = (),
    **fields: str,
) -> Response:
    """Open the form, fill it in and send it."""
    await page.goto(hub.at("/"))
    await press(page, "a[href='/notices/new']")
    await open_all(page)
    await page.locator(f"[name=kind][value={kind}]").check()
    for name, value in {"title": title, "text": text, **fields}.items():
        await page.locator(f"[name={name}]").fill(value)
    if pictures:
        await page.locator("#picture").set_input_files([str(path) for path in pictures])
    return await press(page, "form.form button.go")


async def open_all(page: Page) -> None:
    """Open what is folded away."""
    while await page.locator(_FOLDED).count():
        await page.locator(_FOLDED).first.click()


async def titles(page: Page) -> list[str]:
    """The titles on the page, from the top."""
    return [title.strip() for title in await page.locator(".note h3").all_inner_texts()]


async def count_on_board(hub: HubProcess, title: str) -> int:
    """How many notices of that title everybody can see."""
    return sum(item["title"] == title for item in (await hub.json("/notices.json"))["items"])


# --- putting up -----------------------------------------------------------------------------------


async def test_a_notice_with_a_photo_goes_up_from_a_phone_without_script(
    browser: Browser, empty_hub: HubProcess, snapshot: Path
) -> None:
    async with visitor(browser, script=False, width=360, height=640) as phone:
        await write(phone, empty_hub, "A cat has moved in", pictures=[snapshot], alt1="A tabby, looking in")
        assert "Your notice is up." in await phone.inner_text(MESSAGE)
        assert len((await phone.inner_text(PHRASE)).split()) == 4
        address = phone.url

        picture = phone.locator(".photo img")
        assert await picture.get_attribute("alt") == "A tabby, looking in"
        kept = await empty_hub.answer(str(await picture.get_attribute("src")))
        with Image.open(io.BytesIO(kept.body)) as image:
            assert (image.format, image.size) == ("JPEG", (1280, 960))
            assert not image.getexif()
        assert b"Exif" not in kept.body
        assert b"Tanyard" not in kept.body

        await phone.reload()
        assert await phone.locator(PHRASE).count() == 1  # a phone short of memory reloads pages by itself
        await phone.goto(empty_hub.at("/"))
        assert "A cat has moved in" in await titles(phone)
        thumbnail = str(await phone.locator(".note img").first.get_attribute("src"))
        assert len((await empty_hub.answer(thumbnail)).body) <= 15_000
        await press(phone, "text=A cat has moved in")
        assert await phone.locator(PHRASE).count() == 0

    async with visitor(browser, script=False) as friend:
        await friend.goto(address)
        assert await friend.locator(PHRASE).count() == 0  # whoever is sent the address does not get the words
        assert await friend.inner_text("h1") == "A cat has moved in"


async def test_the_author_changes_takes_down_puts_back_and_extends_on_the_phone_it_was_written_on(
    browser: Browser, empty_hub: HubProcess
) -> None:
    async with visitor(browser, script=False) as phone:
        soon = datetime.fromtimestamp(SystemClock().now_ms() / 1000, UTC) + timedelta(days=6)
        await write(phone, empty_hub, "Three chairs", "By the gate.", until=soon.date().isoformat())
        await press(phone, "a[href$='/edit']")
        assert await phone.locator("[name=phrase]").count() == 0
        assert await phone.input_value("#text") == "By the gate."
        await phone.locator("#title").fill("Two chairs")
        await press(phone, "form.form button.go")
        assert "Your notice is changed." in await phone.inner_text(MESSAGE)
        assert await phone.inner_text("h1") == "Two chairs"

        await press(phone, "form[action$='/remove'] button")
        assert "Taken down." in await phone.inner_text(MESSAGE)
        assert "Two chairs" not in await titles(phone)
        await press(phone, f"{MESSAGE} button")
        assert "Your notice is up again." in await phone.inner_text(MESSAGE)

        before = await phone.inner_text(".note .meta >> nth=1")
        await press(phone, "form[action$='/extend'] button")
        assert "stays up for longer" in await phone.inner_text(MESSAGE)
        assert await phone.inner_text(".note .meta >> nth=1") != before
        await phone.goto(empty_hub.at("/"))
        assert "Two chairs" in await titles(phone)


async def test_the_four_words_do_the_same_on_a_phone_that_is_not_known(
    browser: Browser, empty_hub: HubProcess
) -> None:
    async with visitor(browser, script=False) as phone:
        await write(phone, empty_hub, "A lamp")
        phrase, path = await phone.inner_text(PHRASE), phone.url.partition("?")[0]
    async with visitor(browser, script=False) as other:
        await other.goto(path)
        await press(other, "a[href$='/edit']")
        await other.locator("#text").fill("Takes a small bulb.")
        await other.locator("#phrase").fill(phrase.upper().replace(" ", ", "))
        await press(other, "form.form button.go")
        assert "Takes a small bulb." in await other.inner_text(".text")

        await press(other, "form[action$='/extend'] button")
        await other.locator("#phrase").fill(phrase)
        await press(other, "form.form button.go")
        assert "stays up for longer" in await other.inner_text(MESSAGE)

        await press(other, "a[href$='/remove']")
        await other.locator("#phrase").fill(phrase)
        await press(other, "form.form button.go")
        assert "Taken down." in await other.inner_text(MESSAGE)
        await press(other, f"{MESSAGE} button")  # asks for the words again: this phone is still not known
        await other.locator("#phrase").fill(phrase)
        await press(other, "form.form button.go")
        assert "Your notice is up again." in await other.inner_text(MESSAGE)


async def test_wrong_words_change_nothing_and_the_page_says_so_first(
    browser: Browser, empty_hub: HubProcess
) -> None:
    path = await empty_hub.put_up(title="A good saw")
    async with visitor(browser, script=False) as other:
        await other.goto(empty_hub.at(path))
        await press(other, "a[href$='/remove']")
        await other.locator("#phrase").fill("lantern otter window plough")
        answer = await press(other, "form.form button.go")
        assert answer.status == 403
        assert (await other.title()).startswith("Error: ")
        assert "Those four words do not belong to this." in await other.inner_text(PROBLEM)
        assert await other.evaluate(f"document.activeElement.matches('{PROBLEM}')")
        assert await other.input_value("#phrase") == "lantern otter window plough"
        await other.locator(f"{PROBLEM} a").click()
        assert await other.evaluate("document.activeElement.id") == "phrase"
    assert await count_on_board(empty_hub, "A good saw") == 1


async def test_a_form_that_is_sent_twice_makes_one_notice(browser: Browser, empty_hub: HubProcess) -> None:
    async with visitor(browser, script=False) as phone:
        await phone.goto(empty_hub.at("/notices/new"))
        await phone.locator("[name=kind][value=news]").check()
        await phone.locator("#title").fill("Only once")
        await phone.locator("#text").fill("However often it is sent.")
        key = await phone.locator("[name=key]").get_attribute("value")
        await phone.locator("form.form button.go").dblclick(no_wait_after=True)
        # Not "expect navigation": the second click breaks off the first one's, as it should.
        await phone.locator("h1", has_text="Only once").wait_for()
        assert "done=put-up" in phone.url
        fields = {"kind": "news", "title": "Only once", "text": "However often.", "key": key or ""}
        again = [await empty_hub.send("/notices", fields) for _ in range(3)]
        assert {answer.status for answer in again} == {303}
        assert {answer.headers["Location"].partition("-")[0] for answer in again} == {
            phone.url.partition(f"{HOST}:{empty_hub.port}")[2].partition("-")[0]
        }
        await phone.reload()
    assert await count_on_board(empty_hub, "Only once") == 1


# --- refused forms --------------------------------------------------------------------------------


async def test_a_refused_form_comes_back_filled_in_with_its_pictures(
    browser: Browser, empty_hub: HubProcess, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{scene}.jpg" for scene in ("bread", "keys")]
    for path in paths:
        path.write_bytes(await asyncio.to_thread(photograph, path.stem, width=640))
    async with visitor(browser, script=False) as phone:
        answer = await write(phone, empty_hub, "", "For the fair.", pictures=paths, name="Jo", alt1="A loaf")
        assert answer.status == 422
        assert (await phone.title()).startswith("Error: ")
        assert await phone.evaluate(f"document.activeElement.matches('{PROBLEM}')")
        assert await phone.inner_text(f"{PROBLEM} li") == "Give your notice a title."
        assert "Give your notice a title." in await phone.inner_text("#title-e")
        assert await phone.locator("[name=kind][value=give]").is_checked()
        assert await phone.input_value("#text") == "For the fair."
        assert await phone.input_value("#name") == "Jo"
        assert await phone.locator("[name=kept]").count() == 2
        assert await phone.locator("[id^='alt-']").first.input_value() == "A loaf"
        await phone.locator("[name=kept]").nth(1).uncheck()
        await phone.locator("#title").fill("Bread for the fair")
        await press(phone, "form.form button.go")
        assert await phone.inner_text("h1") == "Bread for the fair"
        assert await phone.locator(".photo img").count() == 1
        assert await phone.locator(".photo img").get_attribute("alt") == "A loaf"


_AN_OLD_BROWSER = """() => {
    for (const each of document.querySelectorAll('[maxlength]')) each.removeAttribute('maxlength');
    document.querySelector('#until').type = 'text';
}"""
"""Such as know neither limits nor dates."""


@pytest.mark.parametrize(
    ("field", "typed", "sentence"),
    [
        ("text", "y" * (MAX_TEXT + 1), f"at most {MAX_TEXT} characters. It has {MAX_TEXT + 1}."),
        ("until", "the day after", "Write the last day like 25/12/2026."),
        ("until", "1.1.2020", "Choose a last day from today"),
        ("contact", "0" * 300, "This is too long"),
    ],
)
async def test_a_field_to_put_right_is_named_and_nothing_typed_is_lost(
    browser: Browser, empty_hub: HubProcess, field: str, typed: str, sentence: str
) -> None:
    async with visitor(browser, script=False) as phone:
        await phone.goto(empty_hub.at("/notices/new"))
        await open_all(phone)
        await phone.evaluate(_AN_OLD_BROWSER)
        await phone.locator("[name=kind][value=ask]").check()
        await phone.locator("#title").fill("Hold on to this")
        await phone.locator("#text").fill("And to this.")
        await phone.locator(f"#{field}").fill(typed)
        answer = await press(phone, "form.form button.go")
        assert answer.status == 422
        assert sentence in await phone.inner_text(f"#{field}-e")
        assert await phone.locator(f"{PROBLEM} a[href='#{field}']").count() == 1
        assert await phone.locator(f"#{field}").is_visible()
        assert await phone.input_value(f"#{field}") == typed
        assert await phone.input_value("#title") == "Hold on to this"
    assert await count_on_board(empty_hub, "Hold on to this") == 0


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ([b"five"] * 5, "Choose at most 4 pictures"),
        ([HEIC], "HEIC"),
        ([b"Dear all, this is a letter.\n" * 40], "is not a kind of picture"),
        ([b"\xff\xd8\xff\xe0 begins like a picture"], "arrived damaged or incomplete"),
    ],
    ids=["five", "heic", "text", "broken"],
)
async def test_a_picture_that_cannot_be_used_is_refused_in_words(
    browser: Browser, empty_hub: HubProcess, tmp_path: Path, files: Sequence[bytes], sentence: str
) -> None:
    paths = [tmp_path / f"IMG_{number}.jpg" for number in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    async with visitor(browser, script=False) as phone:
        answer = await write(phone, empty_hub, "With pictures", "Still here.", pictures=paths)
        assert answer.status == (422 if len(files) <= 4 else 413)
        assert sentence in await phone.inner_text("#picture-e")
        assert await phone.input_value("#text") == "Still here."
        await press(phone, "form.form button.go")  # without them
        assert await phone.inner_text("h1") == "With pictures"


# --- answering ------------------------------------------------------------------------------------


async def test_a_reply_is_written_changed_and_taken_down(browser: Browser, empty_hub: HubProcess) -> None:
    path = await empty_hub.put_up(kind="ask", title="A ladder for an afternoon?")
    async with visitor(browser, script=False) as phone:
        await phone.goto(empty_hub.at(path))
        answer = await press(phone, "#replies button.go")
        assert answer.status == 422
        assert "Write what you want to say." in await phone.inner_text("#text-e")
        await phone.locator("#text").fill("Mine is six metres.")
        await phone.locator("#name").fill("Marek")
        await press(phone, "#replies button.go")
        assert "Your reply is up." in await phone.inner_text(MESSAGE)
        assert len((await phone.inner_text(PHRASE)).split()) == 4
        assert "1 reply" in await phone.inner_text("#replies-h")

        await press(phone, "#replies a[href$='/edit']")
        assert await phone.input_value("#text") == "Mine is six metres."
        await phone.locator("#text").fill("Mine is **seven** metres.")
        await press(phone, "form.form button.go")
        assert "Mine is seven metres." in await phone.inner_text("#replies .text")
        assert "changed" in await phone.inner_text("#replies .meta")

        await press(phone, "#replies form[action$='/remove'] button")
        assert "No replies yet" in await phone.inner_text("#replies-h")
        await press(phone, f"{MESSAGE} button")
        assert "1 reply" in await phone.inner_text("#replies-h")


async def test_two_people_who_answer_with_the_same_words_are_both_heard(
    browser: Browser, empty_hub: HubProcess
) -> None:
    path = await empty_hub.put_up(kind="ask", title="Who comes to tea?")
    for _ in range(2):
        async with visitor(browser, script=False) as phone:
            await write(phone, empty_hub, "Hello")  # so that each phone is known
            await phone.goto(empty_hub.at(path))
            await phone.locator("#text").fill("Me too.")
            await press(phone, "#replies button.go")
    assert len((await empty_hub.json(f"{path.partition('-')[0]}.json"))["replies"]) == 2


# --- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "marked"),
    [
        ("ladd", "ladd"),
        ("DWR", "dŵr"),
        ("rekawiczka", "rękawiczka"),
        ("پانی", "پانی"),
        ("ماء", "ماء"),
        ("brama kanalu", "kanału"),
    ],
)
async def test_search_finds_words_in_every_script_and_marks_them(
    browser: Browser, street: HubProcess, query: str, marked: str
) -> None:
    async with visitor(browser, script=False) as phone:
        await phone.goto(street.at("/"))
        await phone.locator("summary", has_text="Find").click()
        await phone.locator("#q").fill(query)
        await press(phone, "form[role=search] button")
        assert await phone.input_value("#q") == query
        hits = await phone.locator(".note").count()
        assert hits > 0
        marks = [text.lower() for text in await phone.locator(".note mark").all_inner_texts()]
        assert any(marked in text for text in marks), marks
        found = [await street.json(f"/notices/{name}.json") for name in await ids(phone)]
        assert found == sorted(found, key=lambda item: item["date_published"], reverse=True)


async def ids(page: Page) -> list[str]:
    """The public ids of the notices on the page, from the top."""
    links = await page.locator(".note h3 a").evaluate_all("links => links.map(each => each.pathname)")
    return [link.removeprefix("/notices/").partition("-")[0] for link in links]


async def test_nothing_found_leads_to_asking_for_it(browser: Browser, empty_hub: HubProcess) -> None:
    async with visitor(browser, script=False) as phone:
        await phone.goto(empty_hub.at("/search?q=xylophone"))
        assert "Nothing about “xylophone”" in await phone.inner_text("main")
        await press(phone, "main a[href^='/notices/new']")
        assert await phone.input_value("#title") == "xylophone"
        assert await phone.locator("[name=kind][value=ask]").is_checked()


async def test_the_board_goes_back_to_its_first_notice_each_once_by_date(
    browser: Browser, street: HubProcess
) -> None:
    async with visitor(browser, script=False) as phone:
        await phone.goto(street.at("/"))
        assert await phone.locator(".pinned").count() == 1
        seen, leading = await ids(phone), await phone.locator(".cards").first.locator(".note").count()
        while await phone.locator("a[rel=next]").count():
            await press(phone, "a[rel=next]")
            seen += await ids(phone)
    assert len(seen) == len(set(seen)) > 100
    published = [(await street.json(f"/notices/{name}.json"))["date_published"] for name in seen[leading:]]
    assert published == sorted(published, reverse=True)


async def test_a_kind_is_shown_alone_and_can_be_gone_through(browser: Browser, street: HubProcess) -> None:
    async with visitor(browser, script=False) as phone:
        await phone.goto(street.at("/"))
        await phone.locator("summary", has_text="Find").click()
        await press(phone, ".kinds a[href$='kind=give']")
        assert "To give away" in await phone.title()
        kinds = set(await phone.locator(".note > .kind").all_inner_texts())
        await press(phone, "a[rel=next]")
        kinds |= set(await phone.locator(".note > .kind").all_inner_texts())
        assert {kind.strip() for kind in kinds} == {"To give away"}


async def test_notices_of_neighbours_carry_their_name_and_colour(
    browser: Browser, street: HubProcess
) -> None:
    async with visitor(browser) as phone:
        await phone.goto(street.at("/"))
        neighbour = phone.locator(".by-damson", has_text="from Mill Lane Hub").first
        edge = await neighbour.evaluate("each => getComputedStyle(each).borderInlineStartColor")
        assert edge == "rgb(122, 42, 95)"
        await press(phone, ".by-damson:has-text('from Mill Lane Hub') h3 a")
        assert await phone.locator("#own").count() == 0  # only the hub it comes from can change it


async def test_addresses_lead_where_they_should_and_errors_are_words(
    browser: Browser, empty_hub: HubProcess
) -> None:
    path = await empty_hub.put_up(title="Short and found")
    public_id = path.removeprefix("/notices/").partition("-")[0]
    async with visitor(browser, script=False) as phone:
        await phone.goto(empty_hub.at(f"/n/{public_id.upper()}"))
        assert phone.url == empty_hub.at(path)

        missing = await phone.goto(empty_hub.at("/notices/zzzzzzzzzz"))
        assert missing is not None
        assert missing.status == 404
        assert await phone.inner_text("h1") == "There is nothing here"
        assert await phone.locator("form[role=search]").count() == 1

        foreign = await phone.goto(f"http://another-hub.local:{empty_hub.port}/")
        assert foreign is not None
        assert foreign.status == 421
        assert await phone.inner_text("h1") == "This is not the hub’s address"
        assert await phone.locator("main li a").count() >= 1

    async with visitor(browser, script=False) as author:
        await write(author, empty_hub, "Soon gone")
        page = author.url.partition("?")[0]
        await press(author, "form[action$='/remove'] button")
        gone = await author.goto(page)
        assert gone is not None
        assert gone.status == 410
        assert await author.inner_text("h1") == "This notice was taken down"


async def test_too_much_at_once_is_refused_with_the_text_kept_and_a_time(
    browser: Browser, empty_hub: HubProcess
) -> None:
    async with empty_hub.setting("limits.per_device", "2"), visitor(browser, script=False) as phone:
        # The first act of a phone is counted before it is known, so the third counted one is the fourth.
        for number in range(3):
            await write(phone, empty_hub, f"Quick {number}")
        answer = await write(phone, empty_hub, "One too many", "Kept all the same.")
        assert answer.status == 429
        assert int(await answer.header_value("Retry-After") or 0) > 0
        assert "try again" in (await phone.inner_text(PROBLEM)).lower()
        assert await phone.input_value("#text") == "Kept all the same."


# --- telling and deciding -------------------------------------------------------------------------


async def everywhere(hub: HubProcess, path: str, word: str) -> set[str]:
    """The views that still show the notice at ``path``, whose text has the unusual ``word``."""
    number = path.partition("-")[0]
    views = [
        "/", "/notices?kind=news", f"/search?q={word}", "/notices.json", "/notices.atom", "/screen",
        "/notices/print", path, f"{number}.json", f"{number}/poster",
    ]  # fmt: skip
    shown = set()
    for view in views:
        text = (await hub.answer(view)).body.decode()
        if word in text and (not view.startswith("/search") or 'class="note"' in text):
            shown.add(view)
    assert len(shown) in (0, len(views)), f"shown only in {shown}"
    return shown


async def report(browser: Browser, hub: HubProcess, path: str, reason: str) -> str:
    """Report a notice from a phone of its own; the reference."""
    async with visitor(browser, script=False) as phone:
        await phone.goto(hub.at(path))
        await press(phone, ".full a[href$='/report']")
        assert "999" in await phone.inner_text("main")
        await phone.locator(f"[name=reason][value={reason}]").check()
        await press(phone, "form.form button.go")
        assert "Thank you" in await phone.inner_text("h1")
        return await phone.inner_text(".phrase .words")


async def test_three_phones_hide_a_threat_everywhere_until_a_person_has_looked(
    browser: Browser, empty_hub: HubProcess
) -> None:
    word = "quisquiliae"
    path = await empty_hub.put_up(title="At two in the morning", text=f"A threat: {word}.")
    assert await everywhere(empty_hub, path, word)
    for _ in range(2):
        await report(browser, empty_hub, path, "threat")
    assert await everywhere(empty_hub, path, word)
    reference = await report(browser, empty_hub, path, "child")
    assert await everywhere(empty_hub, path, word) == set()

    async with visitor(browser, script=False) as phone:
        await phone.goto(empty_hub.at("/reports"))
        await phone.locator("#ref").fill(reference.lower().replace("-", " "))
        await press(phone, "form.form button, .form form button")
        assert "hidden from everyone until a person has looked" in await phone.inner_text("main")

        await empty_hub.command("reports", "decide", reference, "keep", "--rule", "1", "--answer", "A joke.")
        assert await everywhere(empty_hub, path, word)
        await phone.reload()
        assert "It stays on the board." in await phone.inner_text("main")
        assert "A joke." in await phone.inner_text("main")
        await phone.goto(empty_hub.at("/decisions"))
        lines = await phone.locator(".ledger li").all_inner_texts()
        assert "Shown again" in lines[0]
        assert "Hidden until a person has looked" in lines[1]
        assert word not in await phone.content()

    for _ in range(3):
        reference = await report(browser, empty_hub, path, "unlawful")
    await empty_hub.command("reports", "decide", reference, "erase", "--rule", "2")
    assert await everywhere(empty_hub, path, word) == set()
    assert (await empty_hub.answer(path)).status == 410


async def test_one_phone_however_often_it_reports_hides_nothing(
    browser: Browser, empty_hub: HubProcess
) -> None:
    word = "floccinauci"
    path = await empty_hub.put_up(title="A feud", text=f"About {word}.")
    async with visitor(browser, script=False) as phone:
        for _ in range(4):
            await phone.goto(empty_hub.at(f"{path.partition('-')[0]}/report"))
            await phone.locator("[name=reason][value=threat]").check()
            await press(phone, "form.form button.go")
    assert await everywhere(empty_hub, path, word)


async def test_what_a_caretaker_has_made_urgent_no_number_of_phones_can_hide(
    browser: Browser, empty_hub: HubProcess
) -> None:
    word = "pneumonoultra"
    path = await empty_hub.put_up(title="The hall is closed", text=f"Because of {word}.")
    public_id = path.removeprefix("/notices/").partition("-")[0]
    await empty_hub.command("notices", "urgent", public_id, "--hours", "2")
    for _ in range(3):
        await report(browser, empty_hub, path, "threat")
    assert "/" in await everywhere(empty_hub, path, word)
    await empty_hub.command("notices", "urgent", public_id, "--off")


async def test_the_caretaker_hides_with_a_command_and_it_is_gone_on_the_next_request(
    browser: Browser, empty_hub: HubProcess
) -> None:
    word = "honorificabil"
    path = await empty_hub.put_up(title="Hidden by hand", text=f"Not {word}.")
    public_id = path.removeprefix("/notices/").partition("-")[0]
    assert await everywhere(empty_hub, path, word)
    await empty_hub.command("notices", "hide", public_id, "--rule", "3")
    assert await everywhere(empty_hub, path, word) == set()
    await empty_hub.command("notices", "restore", public_id, "--rule", "3")
    assert await everywhere(empty_hub, path, word)
    await empty_hub.command("check")


# --- posting modes --------------------------------------------------------------------------------


async def test_what_is_checked_first_is_seen_by_its_author_as_waiting_and_by_others_when_approved(
    browser: Browser, empty_hub: HubProcess
) -> None:
    async with empty_hub.setting("board.posting", "checked"), visitor(browser, script=False) as author:
        await author.goto(empty_hub.at("/notices/new"))
        assert "reads it before everyone can see it" in await author.inner_text("main")
        await write(author, empty_hub, "Waiting for Sam", "May I?")
        assert "waiting" in await author.inner_text(MESSAGE)
        assert "Only you can see this" in await author.inner_text("main")
        path = author.url.partition("?")[0].partition(f":{empty_hub.port}")[2]
        assert (await empty_hub.answer(path)).status == 404
        assert await count_on_board(empty_hub, "Waiting for Sam") == 0
        await press(author, "a[href$='/edit']")
        await author.locator("#text").fill("May I, please?")
        await press(author, "form.form button.go")
        assert "May I, please?" in await author.inner_text(".text")

        [waiting] = await empty_hub.told("notices", "list", "waiting")
        await empty_hub.command("notices", "approve", waiting["id"])
        assert await count_on_board(empty_hub, "Waiting for Sam") == 1
        await author.reload()
        assert "Only you can see this" not in await author.inner_text("main")


async def test_while_posting_is_paused_everything_can_be_read_and_nothing_typed_is_lost(
    browser: Browser, empty_hub: HubProcess
) -> None:
    async with visitor(browser, script=False) as phone:
        await phone.goto(empty_hub.at("/notices/new"))
        async with empty_hub.setting("board.posting", "paused"):
            await phone.locator("[name=kind][value=news]").check()
            await phone.locator("#title").fill("Begun before the pause")
            await phone.locator("#text").fill("Not lost.")
            answer = await press(phone, "form.form button.go")
            assert answer.status == 403
            assert "paused" in await phone.inner_text(PROBLEM)
            await phone.goto(empty_hub.at("/"))
            assert "Putting up notices is paused" in await phone.inner_text("main")
            assert await phone.locator("a[href='/notices/new']").count() == 0


async def test_the_first_notice_of_a_new_phone_can_be_held(browser: Browser, empty_hub: HubProcess) -> None:
    async with empty_hub.setting("board.first_held", "1"), visitor(browser, script=False) as phone:
        await write(phone, empty_hub, "My first")
        assert "waiting" in await phone.inner_text(MESSAGE)
        [waiting] = await empty_hub.told("notices", "list", "waiting")
        await empty_hub.command("notices", "approve", waiting["id"])
        await write(phone, empty_hub, "My second")
        assert "Your notice is up." in await phone.inner_text(MESSAGE)


# --- languages ------------------------------------------------------------------------------------


async def test_a_notice_goes_up_in_arabic_with_an_english_address_in_it(
    browser: Browser, empty_hub: HubProcess, snapshot: Path
) -> None:
    words = (await asyncio.to_thread(Catalogues.load))["ar"]
    async with visitor(browser, script=False) as phone:
        await phone.goto(empty_hub.at("/"))
        await press(phone, "footer a[hreflang=ar]")
        assert await phone.locator("html").get_attribute("dir") == "rtl"
        text = "عندي سلّم طويل، والعنوان 14 Tanyard Road، من الخامسة مساءً."
        await write(phone, empty_hub, "سلّم للإعارة", text, pictures=[snapshot], alt1="سلّم على جدار")
        assert "lang=" not in phone.url
        assert await phone.locator("html").get_attribute("lang") == "ar"  # kept by the cookie
        assert words.gettext("Your notice is up.") in await phone.inner_text(MESSAGE)
        assert await phone.inner_text("h1") == "سلّم للإعارة"
        assert "14 Tanyard Road" in await phone.inner_text(".text")
        phrase = await phone.inner_text(PHRASE)
        edge = await phone.locator(".full").evaluate("each => getComputedStyle(each).borderRightWidth")
        assert edge == "8px"
        notice = phone.url.partition("?")[0]
        await phone.goto(empty_hub.at("/search?q=سلم"))  # typed without its mark
        assert "سلّم للإعارة" in await titles(phone)
        await phone.goto(empty_hub.at("/search?q=tanyard"))
        assert "سلّم للإعارة" in await titles(phone)

    async with visitor(browser, lang="en", script=False) as neighbour:
        await neighbour.goto(notice)
        title, body = neighbour.locator("h1"), neighbour.locator(".text")
        assert await neighbour.locator("html").get_attribute("dir") == "ltr"
        assert (await title.get_attribute("lang"), await body.get_attribute("lang")) == ("ar", "ar")
        assert await body.evaluate("each => getComputedStyle(each).direction") == "rtl"
        await press(neighbour, "a[href$='/remove']")
        await neighbour.locator("#phrase").fill(phrase)
        await press(neighbour, "form.form button.go")
        assert "Taken down." in await neighbour.inner_text(MESSAGE)


async def test_the_language_of_a_page_is_the_phones_until_somebody_chooses(
    browser: Browser, empty_hub: HubProcess
) -> None:
    async with visitor(browser, lang="pl", script=False) as phone:
        await phone.goto(empty_hub.at("/help"))
        assert await phone.locator("html").get_attribute("lang") == "pl"
        assert await phone.context.cookies() == []  # reading sets none
        await press(phone, "footer a[hreflang=cy]")
        assert phone.url == empty_hub.at("/help?lang=cy")
        await press(phone, "header a[href='/about']")
        assert await phone.locator("html").get_attribute("lang") == "cy"
        [cookie] = await phone.context.cookies()
        assert (cookie.get("name"), cookie.get("sameSite"), cookie.get("httpOnly")) == ("lang", "Lax", True)


# --- with script ----------------------------------------------------------------------------------


async def test_with_script_what_was_typed_survives_a_reload_and_a_lost_connection(
    browser: Browser, empty_hub: HubProcess
) -> None:
    async with visitor(browser) as phone:
        await phone.goto(empty_hub.at("/notices/new"))
        await phone.locator("[name=kind][value=lost]").check()
        await phone.locator("#title").fill("A blue glove")
        await phone.locator("#text").fill("Left hand, wool.")
        await phone.wait_for_function("() => localStorage.length === 1")
        await phone.reload()
        assert await phone.input_value("#title") == "A blue glove"
        assert await phone.locator("[name=kind][value=lost]").is_checked()
        assert "We kept what you typed here before." in await phone.inner_text("form.form [role=status]")

        await phone.context.set_offline(True)
        await phone.locator("form.form button.go").click(no_wait_after=True)
        await phone.wait_for_timeout(500)
        assert "Your notice is up." not in await phone.content()
        await phone.context.set_offline(False)
        await phone.goto(empty_hub.at("/notices/new"))
        assert await phone.input_value("#text") == "Left hand, wool."

        await press(phone, "form.form button.go")
        assert "Your notice is up." in await phone.inner_text(MESSAGE)
        assert await phone.evaluate("() => localStorage.length") == 0
        await phone.goto(empty_hub.at("/notices/new"))
        assert await phone.input_value("#title") == ""


async def test_with_script_a_refused_form_keeps_its_own_words_and_the_draft_goes_after_success(
    browser: Browser, empty_hub: HubProcess
) -> None:
    async with visitor(browser) as phone:
        await phone.goto(empty_hub.at("/notices/new"))
        await phone.locator("#text").fill("No title yet.")
        await press(phone, "form.form button.go")
        assert await phone.input_value("#text") == "No title yet."
        await phone.locator("[name=kind][value=news]").check()
        await phone.locator("#title").fill("Now it has one")
        await press(phone, "form.form button.go")
        assert await phone.inner_text("h1") == "Now it has one"
        assert await phone.evaluate("() => localStorage.length") == 0


async def test_a_draft_can_be_cleared(browser: Browser, empty_hub: HubProcess) -> None:
    async with visitor(browser) as phone:
        await phone.goto(empty_hub.at("/notices/new"))
        await phone.locator("#title").fill("Second thoughts")
        await phone.wait_for_function("() => localStorage.length === 1")
        await phone.reload()
        await phone.locator("form.form [role=status] button").click()
        assert await phone.input_value("#title") == ""
        assert await phone.evaluate("() => localStorage.length") == 0


async def test_with_script_the_board_says_when_there_is_something_new(
    browser: Browser, empty_hub: HubProcess
) -> None:
    async with visitor(browser) as phone:
        await phone.clock.install()
        await phone.goto(empty_hub.at("/"))
        await phone.clock.fast_forward(61_000)
        await phone.wait_for_timeout(300)
        assert await phone.inner_text(".new") == ""
        await asyncio.sleep(1)  # the feed's times have whole seconds
        await empty_hub.put_up(title="Hot off the press")
        assert "Hot off the press" not in await titles(phone)
        await phone.clock.fast_forward(121_000)
        await phone.wait_for_selector(".new a")
        assert await phone.inner_text(".new") == "New notices: 1 – show them"
        assert "Hot off the press" not in await titles(phone)  # nothing moves under the reader
        await press(phone, ".new a")
        assert "Hot off the press" in await titles(phone)
        assert await phone.inner_text(".new") == ""
