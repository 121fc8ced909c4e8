"""The file share as residents use it: without script, on narrow phones, in every language."""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
import re
import shutil
import wave
import zipfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image
from playwright.async_api import Browser, Page, Response

from hub.words.catalogues import LANGUAGES
from tests.demo import settings_file
from tests.e2e.browser import (
    NARROW_WIDTH,
    axe_violations,
    sideways_scroll,
    small_controls,
    visitor,
    wire_to,
)
from tests.e2e.html_validator import html_problems
from tests.e2e.hub_process import HOST, HubProcess, running_hub
from tests.world_content.pictures import photograph

MESSAGE, PHRASE, PROBLEM, RECEIPT = ".done", ".phrase .words", ".problem", ".receipt"
SMALL = (
    "per_device = 1000\nper_address = 10000\nwhole_hub = 10000\nnew_devices = 1000\nphrase_tries = 1000\n"
    "[storage]\nreserve_percent = 0\nreserve_megabytes = 1\n"
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def hub(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HubProcess]:
    """A hub with its open box; tests look for what they added themselves."""
    data = tmp_path_factory.mktemp("files") / "data"
    data.mkdir()
    await asyncio.to_thread((data / "hub.toml").write_text, f"{settings_file()}[limits]\n{SMALL}", "utf-8")
    async with running_hub(data) as running:
        yield running


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what residents share."""
    folder = tmp_path_factory.mktemp("things")
    for number, subject in enumerate(("cat", "bread", "bicycle")):
        (folder / f"Photo {number}.jpg").write_bytes(photograph(subject, width=1600, location=True))
    (folder / "Menu.pdf").write_bytes(b"%PDF-1.4\n" + b"menu " * 400)
    (folder / "other").mkdir()
    (folder / "other" / "Menu.pdf").write_bytes(b"%PDF-1.4\n" + b"another " * 300)
    (folder / "Read me.txt").write_text("Bring your own mug.\n", "utf-8")
    (folder / "قائمة المشتريات.txt").write_text("خبز\n", "utf-8")
    (folder / "page.html").write_text("<script>document.title='ran'</script>", "utf-8")
    (folder / "photo.heic").write_bytes(b"\0\0\0\x24ftypheic\0\0\0\0mif1heic" + bytes(999))
    with wave.open(str(folder / "Choir.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(8000 * 2 * 60))
    return folder


async def press(page: Page, what: str) -> Response:
    """Press a button or link and wait for the page it leads to."""
    async with page.expect_navigation() as navigation:
        await page.locator(what).first.click()
    response = await navigation.value
    assert response is not None
    return response


async def open_box(page: Page, hub: HubProcess) -> None:
    """Go to the open box from the board, as people do."""
    await page.goto(hub.at("/"))
    await press(page, "nav a[href='/files']")
    await press(page, "h3 a:has-text('open box')")


async def add(page: Page, hub: HubProcess, files: Sequence[Path], **fields: str) -> Response:
    """Fill in the form of the open box and send it."""
    await open_box(page, hub)
    await press(page, "a[href$='/add']")
    for name, value in fields.items():
        await page.locator(f"[name={name}]").fill(value)
    await page.locator("#file").set_input_files([str(file) for file in files])
    return await press(page, "form.form button.go")


async def bytes_at(page: Page, hub: HubProcess, path: str | None) -> bytes:
    """What is downloaded from ``path`` by the visitor of ``page``."""
    assert path
    response = await page.context.request.get(
        hub.at(path).replace(HOST, "127.0.0.1"), headers={"Host": f"{HOST}:{hub.port}"}
    )
    assert response.status == 200
    return await response.body()


# --- adding ---------------------------------------------------------------------------------------


async def test_photos_go_up_from_a_narrow_phone_without_script_and_lose_their_place(
    browser: Browser, hub: HubProcess, things: Path
) -> None:
    async with visitor(browser, script=False, width=360, height=640) as phone:
        photos = [things / f"Photo {number}.jpg" for number in range(3)]
        answer = await add(phone, hub, photos, description="The fête in June", name="Amina")
        assert answer.status == 200
        assert "what became of your files" in await phone.inner_text(MESSAGE)
        assert (await phone.inner_text(RECEIPT)).count("added.") == 3
        assert len((await phone.inner_text(PHRASE)).split()) == 4
        tiles = phone.locator(".grid .tile")
        assert await tiles.count() == 3
        thumb = tiles.first.locator("img")
        assert await thumb.get_attribute("loading") == "lazy"
        assert await thumb.evaluate("image => image.complete && image.naturalWidth") == int(
            str(await thumb.get_attribute("width"))
        )
        await press(phone, ".grid .tile a")
        assert await phone.inner_text("h1") == "Photo 2.jpg"
        assert "The fête in June" in await phone.inner_text("article")
        picture = phone.locator(".photo img")
        assert await picture.get_attribute("alt") == "The fête in June"
        assert await picture.evaluate("image => image.complete && image.naturalWidth") == 1600
        sent = await bytes_at(phone, hub, await picture.get_attribute("src"))
        assert b"Tanyard" not in sent
        with Image.open(io.BytesIO(sent)) as image:
            assert not image.getexif().get_ifd(0x8825)  # where it was taken

        names = [await phone.inner_text("h1")]
        while await phone.locator("a[rel=next]").count():
            await press(phone, "a[rel=next]")
            names.append(await phone.inner_text("h1"))
        assert names == ["Photo 2.jpg", "Photo 1.jpg", "Photo 0.jpg"]
        await press(phone, "a[rel=prev]")
        assert await phone.inner_text("h1") == "Photo 1.jpg"


async def test_with_script_a_large_file_arrives_in_pieces_and_says_how_far_it_is(
    browser: Browser, hub: HubProcess, things: Path, tmp_path: Path
) -> None:
    film = tmp_path / "Fête.mp4"
    content = random.Random(7).randbytes(9_000_000)
    await asyncio.to_thread(film.write_bytes, content)
    async with visitor(browser) as phone:
        asked: list[str] = []
        phone.on("request", lambda request: asked.append(request.method))
        await open_box(phone, hub)
        await press(phone, "a[href$='/add']")
        await phone.locator("#description").fill("The whole fête")
        await phone.locator("#file").set_input_files([str(film), str(things / "Read me.txt")])
        asked.clear()
        await press(phone, "form.form button.go")
        assert asked.count("PATCH") >= 4
        assert (await phone.inner_text(RECEIPT)).count("\n") >= 1
        await press(phone, f"{RECEIPT} a")
        assert await phone.inner_text("h1") == "Fête.mp4"
        assert hashlib.sha256(content).hexdigest() in await phone.content()
        await open_box(phone, hub)
        await press(phone, "a[href$='/add']")
        assert (
            await phone.input_value("#description") == ""
        )  # what was typed has arrived, so no draft is left


async def test_the_original_is_kept_only_where_it_is_asked_for_and_says_so(
    browser: Browser, hub: HubProcess, things: Path
) -> None:
    async with visitor(browser, script=False) as phone:
        await open_box(phone, hub)
        await press(phone, "a[href$='/add']")
        await phone.locator("#photo").check()
        original = things / "Original.jpg"
        await asyncio.to_thread(shutil.copyfile, things / "Photo 0.jpg", original)
        await phone.locator("#file").set_input_files(str(original))
        await press(phone, "form.form button.go")
        await press(phone, f"{RECEIPT} a")
        assert "This is the original file" in await phone.inner_text("article")
        sent = await bytes_at(phone, hub, await phone.locator("a.go").first.get_attribute("href"))
        assert sent == await asyncio.to_thread(original.read_bytes)


async def test_the_receipt_says_what_became_of_files_of_one_name(
    browser: Browser, hub: HubProcess, things: Path
) -> None:
    async with visitor(browser, script=False) as phone:
        await add(phone, hub, [things / "Menu.pdf"])
        assert "Menu.pdf: added." in " ".join((await phone.inner_text(RECEIPT)).split())
        await add(phone, hub, [things / "other" / "Menu.pdf", things / "Menu.pdf"])
        said = " ".join((await phone.inner_text(RECEIPT)).split())
        assert "Menu.pdf is here already with other content, so yours is called Menu (2).pdf." in said
        assert "Menu.pdf: the very same file is here already." in said
        await phone.reload()
        assert "Menu (2).pdf" in await phone.inner_text(RECEIPT)
        address = phone.url
    async with visitor(browser, script=False) as friend:
        await friend.goto(address)
        assert await friend.locator(f"{RECEIPT}, {PHRASE}").count() == 0


async def test_a_picture_that_cannot_be_cleaned_is_kept_for_the_next_try(
    browser: Browser, hub: HubProcess, things: Path
) -> None:
    rota = things / "Rota.txt"
    await asyncio.to_thread(rota.write_text, "Sam, then Jo.", "utf-8")
    async with visitor(browser, script=False) as phone:
        answer = await add(phone, hub, [rota, things / "photo.heic"], description="For Sunday")
        assert answer.status == 422
        assert "photo.heic" in await phone.inner_text(PROBLEM)
        assert (await phone.title()).startswith("Error: ")
        assert await phone.input_value("#description") == "For Sunday"
        assert await phone.locator("[name=upload]").count() == 2
        await phone.locator("#photo").check()
        await press(phone, "form.form button.go")
        assert (await phone.inner_text(RECEIPT)).count("added.") == 2


async def test_a_form_without_files_and_one_that_is_too_large_come_back_with_what_was_typed(
    browser: Browser, hub: HubProcess, things: Path, tmp_path: Path
) -> None:
    async with visitor(browser, script=False) as phone:
        answer = await add(phone, hub, [], description="Nothing yet", name="Jo")
        assert answer.status == 422
        assert "Choose at least one file." in await phone.inner_text(PROBLEM)
        assert await phone.input_value("#description") == "Nothing yet"
        large = tmp_path / "Film.mp4"
        await asyncio.to_thread(large.write_bytes, bytes(3_000_000))
        async with hub.setting("files.largest_megabytes", "2"):
            answer = await add(phone, hub, [large], description="The whole film", name="Jo")
        assert answer.status == 413
        assert re.search("files of up to 2(.1)? MB", await phone.inner_text(PROBLEM))
        assert await phone.input_value("#description") == "The whole film"
        assert await phone.input_value("#name") == "Jo"
        async with hub.setting("files.device_megabytes", "1"):
            answer = await add(phone, hub, [large], description="The whole film")
        assert answer.status == 429
        assert "MB are left for today" in await phone.inner_text(PROBLEM)
        assert await phone.input_value("#description") == "The whole film"


async def test_what_waits_for_a_caretaker_is_seen_by_its_owner_only(
    browser: Browser, hub: HubProcess, things: Path
) -> None:
    await hub.command("collections", "add", "The choir", "--may-add", "checked", "--licence", "share")
    async with visitor(browser, script=False) as phone, visitor(browser, script=False) as other:
        await phone.goto(hub.at("/files"))
        await press(phone, "h3 a:has-text('The choir')")
        await press(phone, "a[href$='/add']")
        assert "looks at each file before everyone can see it" in await phone.inner_text("form.form")
        await phone.locator("#file").set_input_files(str(things / "Choir.wav"))
        await press(phone, "form.form button.go")
        assert "Your files are waiting" in await phone.inner_text(MESSAGE)
        await press(phone, "h2:has-text('Only you can see these') + ul h3 a")
        assert "Only you can see this" in await phone.inner_text("main")
        await other.goto(phone.url)
        assert await other.inner_text("h1") == "There is nothing here"
        await phone.goto(hub.at("/files"))
        await press(phone, "h3 a:has-text('The choir')")
        address = phone.url
        assert "Choir.wav" in await phone.inner_text("main")
        for _ in range(2):
            await other.goto(address)
            assert "Choir.wav" not in await other.inner_text("main")


# --- one's own ------------------------------------------------------------------------------------


async def test_the_owner_changes_takes_down_puts_back_and_extends(
    browser: Browser, hub: HubProcess, things: Path
) -> None:
    async with visitor(browser, script=False) as phone:
        await add(phone, hub, [things / "قائمة المشتريات.txt"])
        phrase = await phone.inner_text(PHRASE)
        await press(phone, f"{RECEIPT} a")
        await press(phone, "a[href$='/edit']")
        assert await phone.locator("[name=phrase]").count() == 0
        await phone.locator("#name").fill("Shopping list.txt")
        await phone.locator("#description").fill("For the soup")
        await press(phone, "form.form button.go")
        assert "Your file is changed." in await phone.inner_text(MESSAGE)
        assert await phone.inner_text("h1") == "Shopping list.txt"
        assert "For the soup" in await phone.inner_text("article")
        address = phone.url.partition("?")[0]

        await press(phone, "form[action$='/extend'] button")
        assert "stays up for longer" in await phone.inner_text(MESSAGE)
        await press(phone, "form[action$='/remove'] button")
        assert "Taken down." in await phone.inner_text(MESSAGE)
        assert "Shopping list" not in await phone.inner_text(".cards")
        gone = await phone.goto(address)
        assert gone is not None
        assert gone.status == 410
        await phone.go_back()
        await press(phone, f"{MESSAGE} button")
        assert "Your file is up again." in await phone.inner_text(MESSAGE)

    async with visitor(browser, script=False) as other:
        await other.goto(address)
        await press(other, "a[href$='/remove']")
        await other.locator("#phrase").fill("not the right words")
        assert (await press(other, "form.form button.go")).status == 403
        await other.locator("#phrase").fill(phrase)
        await press(other, "form.form button.go")
        assert "Taken down." in await other.inner_text(MESSAGE)
        await press(other, f"{MESSAGE} button")  # asks for the words: this phone is not known
        await other.locator("#phrase").fill(phrase)
        await press(other, "form.form button.go")
        assert "Your file is up again." in await other.inner_text(MESSAGE)


async def test_a_file_can_be_reported(browser: Browser, hub: HubProcess, things: Path) -> None:
    async with visitor(browser, script=False) as phone:
        await add(phone, hub, [things / "Menu.pdf"])
        await press(phone, f"{RECEIPT} a")
        await press(phone, "a[href$='/report']")
        assert "Menu.pdf" in await phone.inner_text(".quote")
        await phone.locator("[name=reason][value=untrue]").check()
        await press(phone, "form.form button.go")
        assert re.fullmatch(r"\w{4}-\w{4}", await phone.inner_text(".phrase .words"))


# --- looking --------------------------------------------------------------------------------------


async def test_a_recording_plays_from_the_middle(browser: Browser, hub: HubProcess, things: Path) -> None:
    async with visitor(browser) as phone:
        await add(phone, hub, [things / "Choir.wav"])
        await press(phone, f"{RECEIPT} a")
        player = phone.locator("audio")
        await player.evaluate(
            "player => new Promise(done => { player.readyState ? done() : player.onloadedmetadata = done })"
        )
        assert round(await player.evaluate("player => player.duration")) == 60
        await player.evaluate(
            "player => new Promise(done => { player.onseeked = done; player.currentTime = 42 })"
        )
        assert await player.evaluate("player => player.currentTime") == 42


async def test_nothing_that_was_added_runs_here(browser: Browser, hub: HubProcess, things: Path) -> None:
    async with visitor(browser) as phone:
        await add(phone, hub, [things / "page.html"])
        await press(phone, f"{RECEIPT} a")
        assert await phone.locator("a.go:has-text('Open')").count() == 0
        async with phone.expect_download() as download:
            await phone.locator("a.go").click()
        saved = await (await download.value).path()
        assert await asyncio.to_thread(saved.read_bytes) == await asyncio.to_thread(
            (things / "page.html").read_bytes
        )
        assert (await download.value).suggested_filename == "page.html"


async def test_a_whole_collection_is_one_download(browser: Browser, hub: HubProcess, things: Path) -> None:
    async with visitor(browser, script=False) as phone:
        await add(phone, hub, [things / "Menu.pdf", things / "قائمة المشتريات.txt"])
        said = await phone.inner_text("a[href$='.zip']")
        assert re.search(r"ZIP, [\d.]+ [kM]B", said)
        packed = await bytes_at(phone, hub, await phone.locator("a[href$='.zip']").get_attribute("href"))
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            assert archive.testzip() is None
            assert {"Menu.pdf", "قائمة المشتريات.txt"} <= set(archive.namelist())


async def test_search_finds_files_and_collections(browser: Browser, hub: HubProcess, things: Path) -> None:
    async with visitor(browser, script=False) as phone:
        named = things / "Minutes of March.txt"
        await asyncio.to_thread(named.write_text, "All agreed.", "utf-8")
        await add(phone, hub, [named], description="The residents’ meeting")
        for query in ("march", "residents"):
            await phone.goto(hub.at(f"/search?q={query}"))
            assert "Minutes of March.txt" in await phone.inner_text(".cards")
        await phone.goto(hub.at("/search?q=box"))
        await press(phone, ".cards h3 a")
        assert "open box" in await phone.inner_text("h1")


# --- for everybody --------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def places(browser: Browser, hub: HubProcess, things: Path) -> dict[str, str]:
    """Pages of every kind that the file share has, by what they are."""
    async with visitor(browser, script=False) as phone:
        long = things / f"{'Minutes of the residents and their neighbours, ' * 2}corrected.docx"
        await asyncio.to_thread(long.write_bytes, b"PK")
        files = [*(things / f"Photo {number}.jpg" for number in range(3)), long, things / "Choir.wav"]
        await add(phone, hub, files, description="For the hall: bring it back by Sunday evening, please.")
        receipt = phone.url.removeprefix(hub.at(""))
        box = receipt.partition("?")[0]
        links = [str(await link.get_attribute("href")) for link in await phone.locator(f"{RECEIPT} a").all()]
        public_id = links[0].removeprefix("/files/").partition("-")[0]
    return {
        "files": "/files",
        "collection": box,
        "nothing older": f"{box}?before=1",
        "add": f"/collections/{box.removeprefix('/collections/').partition('-')[0]}/add",
        "picture": links[0],
        "document": links[3],
        "sound": links[4],
        "change": f"/files/{public_id}/edit",
        "take down": f"/files/{public_id}/remove",
        "put back": f"/files/{public_id}/restore",
        "extend": f"/files/{public_id}/extend",
        "report": f"/files/{public_id}/report",
        "found": "/search?q=photo",
        "help": "/help",
        "privacy": "/privacy",
    }


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("lang", "dark", "width"), [("en", False, NARROW_WIDTH), ("en", True, 1280), ("ar", True, 360)]
)
async def test_axe_finds_nothing(
    browser: Browser, hub: HubProcess, places: dict[str, str], lang: str, dark: bool, width: int
) -> None:
    faults = {}
    async with visitor(browser, lang=lang, dark=dark, width=width, height=800) as page:
        for name, path in places.items():
            await page.goto(hub.at(path))
            await page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
            found = [str(violation) for violation in await axe_violations(page)]
            if found:
                faults[name] = found
    assert faults == {}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("lang", LANGUAGES)
async def test_every_page_fits_a_narrow_screen_and_fingers(
    browser: Browser, hub: HubProcess, places: dict[str, str], lang: str
) -> None:
    faults = {}
    async with visitor(browser, lang=lang, width=NARROW_WIDTH) as page:
        for name, path in places.items():
            await page.goto(hub.at(path))
            found = [f"sideways: {each}" for each in await sideways_scroll(page)]
            found += [f"small: {each}" for each in await small_controls(page)]
            if found:
                faults[name] = found
    assert faults == {}


@pytest.mark.timeout(120)
async def test_every_document_is_valid_html(hub: HubProcess, places: dict[str, str]) -> None:
    documents = {name: await hub.text(path) for name, path in places.items()}
    documents |= {
        f"{name} in Urdu": await hub.text(f"{path}{'&' if '?' in path else '?'}lang=ur")
        for name, path in places.items()
    }
    assert [str(problem) for problem in await html_problems(documents)] == []


async def test_the_overview_is_small(browser: Browser, hub: HubProcess, places: dict[str, str]) -> None:
    async with wire_to(hub.port) as wire, visitor(browser, script=False) as page:
        await page.goto(f"http://{HOST}:{wire.port}{places['files']}", wait_until="load")
        traffic = await wire.counted()
    assert traffic.received <= 10_000
