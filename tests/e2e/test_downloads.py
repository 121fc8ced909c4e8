"""What Chromium does with uploaded files: shows what is inert, saves the rest, and runs none of it."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import math
import socket
import struct
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from PIL import Image, ImageChops
from playwright.async_api import Browser, Dialog, Page
from playwright.async_api import Error as BrowserError

from hub.domain.files import Family, file_name, media_of
from hub.web.connections import GuardedServer
from hub.web.downloads import WINDOW
from tests.e2e.browser import visitor
from tests.integration.web.shelf import Shelf, serving

JS = "try{localStorage.ran=1}catch(e){};try{fetch('/ran')}catch(e){};try{document.title='ran'}catch(e){};1"
SCRIPT = f'<script>{JS}</script><img src=x onerror="{JS}">'
HTML = f"<!doctype html><html><head><title>x</title></head><body>{SCRIPT}</body></html>".encode()
SVG = (
    f'<svg xmlns="http://www.w3.org/2000/svg" onload="{JS}"><script>{JS}</script>'
    f'<foreignObject><body xmlns="http://www.w3.org/1999/xhtml"><script>{JS}</script></body></foreignObject></svg>'
).encode()
XHTML = (
    f'<html xmlns="http://www.w3.org/1999/xhtml"><head><script>{JS}</script></head><body/></html>'.encode()
)
XML = b'<?xml version="1.0"?>' + XHTML
XSL = (
    b'<?xml version="1.0"?><?xml-stylesheet type="text/xsl" href="#s"?><d>'
    b'<xsl:stylesheet id="s" version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">'
    b'<xsl:template match="/"><html><script>'
    + JS.encode()
    + b"</script></html></xsl:template></xsl:stylesheet></d>"
)


def jpeg(comment: bytes = b"") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(out, "JPEG", comment=comment)
    return out.getvalue()


def sound(seconds: int, rate: int = 8000) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        second = b"".join(struct.pack("<h", int(8000 * math.sin(at / 10))) for at in range(rate))
        file.writeframes(second * seconds)
    return out.getvalue()


def pdf(opening: str = "", pressing: str = "", before: bytes = b"") -> bytes:
    """A red page; ``opening`` and ``pressing`` are scripts, the second of a button as large as the page."""

    def action(script: str) -> str:
        escaped = script.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
        return f"<< /S /JavaScript /JS ({escaped}) >>"

    red = "1 0 0 rg 0 0 300 300 re f"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [5 0 R 6 0 R] >> "
        f"/OpenAction {action(opening)} >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 300] /Contents 4 0 R /Annots [5 0 R 6 0 R] >>",
        f"<< /Length {len(red)} >>\nstream\n{red}\nendstream",
        "<< /Type /Annot /Subtype /Widget /FT /Btn /Ff 65536 /T (b) /Rect [0 0 300 300] /P 3 0 R /F 4 "
        f"/A {action(pressing)} >>",
        "<< /Type /Annot /Subtype /Widget /FT /Tx /T (reason) /V (evil) /Rect [0 0 1 1] /P 3 0 R /F 4 >>",
    ]
    out, places = before + b"%PDF-1.7\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{content}\nendobj\n".encode()
    table = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    return out + f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n".encode()


LOOKS_AROUND = (
    "app.alert([typeof window, typeof document, typeof fetch, typeof XMLHttpRequest, typeof localStorage]"
    ".join(' '));"
)
REACHES_OUT = (
    "try{this.submitForm({cURL:'/notices/7k3q/remove',cSubmitAs:'HTML'})}catch(e){};"
    "try{app.launchURL('/ran')}catch(e){};try{app.launchURL('javascript:fetch(\"/ran\")')}catch(e){};"
    "try{Net.HTTP.request({cVerb:'POST',cURL:'/ran'})}catch(e){};try{this.getURL('/ran')}catch(e){};"
)

HOSTILE = {
    "page.html": HTML,
    "page.htm": HTML,
    "PAGE.HTML": HTML,
    "page.shtml": HTML,
    "page.xhtml": XHTML,
    "page.xht": XML,
    "page.mhtml": b"MIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n" + HTML,
    "page.html.": HTML,
    "page.html;.jpg": HTML,
    "page": HTML,
    "drawing.svg": SVG,
    "drawing.svgz": gzip.compress(SVG, mtime=0),
    "feed.xml": XML,
    "feed.rss": XML,
    "sheet.xsl": XSL,
    "sheet.xml": XSL,
    "maths.mml": b'<math xmlns="http://www.w3.org/1998/Math/MathML" href="javascript:1">'
    + XHTML
    + b"</math>",
    "code.js": JS.encode(),
    "code.mjs": JS.encode(),
    "worker.js": f"self.onmessage=()=>{{{JS}}}".encode(),
    "style.css": f"*{{background:url('/ran');behavior:expression({JS})}}".encode(),
    "data.json": HTML,
    "app.webmanifest": b'{"start_url":"/ran"}',
    "frames.swf": b"FWS\x06" + HTML,
    "photo.jpg": HTML,
    "comment.jpg": jpeg(HTML),
    "photo.png": SVG,
    "photo.gif": b"GIF89a" + HTML,
    "script.gif": b"GIF89a/*" + b"\0" * 20 + b"*/=1;" + JS.encode(),
    "photo.webp": b"RIFF\x10\0\0\0WEBPVP8 " + HTML,
    "notes.txt": HTML,
    "xml.txt": XML,
    "utf16.txt": b"\xff\xfe" + HTML.decode().encode("utf-16-le"),
    "utf7.txt": b"+ADw-script+AD4-" + JS.encode() + b"+ADw-/script+AD4-",
    "leaflet.pdf": HTML,
    "svg.pdf": SVG,
    "polyglot.pdf": pdf(before=HTML[:900] + b"\n"),
    "script.pdf": pdf(opening=LOOKS_AROUND + REACHES_OUT, pressing=REACHES_OUT),
    "song.mp3": HTML,
    "tagged.mp3": b"ID3\x03\0\0\0\0\x0f\x76" + HTML,
    "song.ogg": b"OggS" + HTML,
    "song.wav": SVG,
    "film.mp4": HTML,
    "film.webm": b"\x1a\x45\xdf\xa3" + HTML,
    "film.mov": XML,
    "captions.vtt": b"WEBVTT\n\n00:00.000 --> 00:01.000\n" + SCRIPT.encode(),
    "list.m3u8": b"#EXTM3U\n#EXTINF:1,\n/ran\n",
    "shortcut.url": b"[InternetShortcut]\nURL=javascript:fetch('/ran')\n",
    "program.hta": HTML,
}
"""Names and contents that would run, each in another way, if they were served as what they say they are."""


@asynccontextmanager
async def laid_out(folder: Path) -> AsyncIterator[tuple[Shelf, str]]:
    """A shelf with a page of the hub's own at ``/``, and its address."""
    async with serving(folder) as shelf:
        shelf.html("/", "<title>the hub</title><p>words")
        yield shelf, f"http://shelf.local:{shelf.port}"


async def opened(page: Page, address: str) -> None:
    """Go to ``address``, which may turn out to be a download."""
    try:
        await page.goto(address)
    except BrowserError as error:
        if "Download is starting" not in str(error) and "ERR_ABORTED" not in str(error):
            raise


async def redness(page: Page) -> int:
    """How many pixels of the page look red."""
    shot = Image.open(io.BytesIO(await page.screenshot())).convert("RGB")
    red, green, blue = (band.point(lambda value: 255 * (value > 150)) for band in shot.split())
    return ImageChops.subtract(red, ImageChops.lighter(green, blue)).histogram()[255]


def test_there_are_enough_hostile_files() -> None:
    assert len(HOSTILE) >= 28


@pytest.mark.parametrize("name", HOSTILE)
async def test_nothing_that_was_uploaded_runs_in_the_hubs_origin(
    browser: Browser, tmp_path: Path, name: str
) -> None:
    said: list[str] = []

    async def dismissed(dialog: Dialog) -> None:
        said.append(dialog.message)
        await dialog.dismiss()

    clean = file_name(name)
    async with laid_out(tmp_path) as (shelf, hub):
        shelf.file(f"/files/7k3q/{clean}", HOSTILE[name])
        async with visitor(browser) as page:
            await page.context.add_cookies([{"name": "device", "value": "0123456789abcdef" * 2, "url": hub}])
            page.on("dialog", dismissed)
            await page.goto(hub)
            await opened(page, f"{hub}/files/7k3q/{clean}")
            await asyncio.sleep(0.3)
            if media_of(clean).family is Family.PDF:
                await asyncio.sleep(1.2)
                for at in (200, 320):
                    await page.mouse.click(180, at)
                await asyncio.sleep(0.3)
            assert await page.title() != "ran"
            await page.goto(hub)
            assert await page.evaluate("localStorage.ran === undefined")
        assert "/ran" not in shelf.asked
        assert "/notices/7k3q/remove" not in shelf.asked  # what a form in a PDF sends is from no origin
    if name == "script.pdf":
        assert said
        assert set(said) == {"undefined undefined undefined undefined undefined"}
    else:
        assert not said


async def test_no_other_site_can_run_what_was_uploaded_either(browser: Browser, tmp_path: Path) -> None:
    async with laid_out(tmp_path) as (shelf, hub):
        parts = []
        for name, data in HOSTILE.items():
            path = f"/files/7k3q/{file_name(name)}"
            shelf.file(path, data)
            parts += [
                f'<script src="{hub}{path}"></script><script type=module src="{hub}{path}"></script>',
                f'<link rel=stylesheet href="{hub}{path}"><img src="{hub}{path}">',
                f'<object data="{hub}{path}"></object><embed src="{hub}{path}">',
                f'<video src="{hub}{path}"></video>',
            ]
            if media_of(file_name(name)).family not in (Family.PDF, Family.OTHER):
                parts.append(f'<iframe src="{hub}{path}"></iframe>')
        evil = f"<!doctype html><title>evil</title>{''.join(parts)}".encode()
        ran: list[str] = []

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            ran.append(request.path)
            return web.Response(body=evil, content_type="text/html")

        server = GuardedServer(answer)
        bound = socket.create_server(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        await server.listen(bound)
        context = await browser.new_context(accept_downloads=False)
        try:
            page = await context.new_page()
            await page.goto(f"http://evil.local:{port}/", wait_until="domcontentloaded")
            await asyncio.sleep(2)
            found = await page.evaluate(
                "[location.hostname, document.title === 'ran', 'ran' in localStorage]"
            )
            assert found == ["evil.local", False, False]
        finally:
            await context.close()
            await server.stop(0.1)
        assert "/ran" not in ran
        assert "/ran" not in shelf.asked


async def test_a_picture_is_shown(browser: Browser, tmp_path: Path) -> None:
    async with laid_out(tmp_path) as (shelf, hub), visitor(browser) as page:
        shelf.file("/files/7k3q/a.jpg", jpeg())
        await page.goto(f"{hub}/files/7k3q/a.jpg")
        assert await page.evaluate("document.images[0].naturalWidth") == 64
        assert await redness(page) > 2000


async def test_text_is_shown_in_its_own_script(browser: Browser, tmp_path: Path) -> None:
    async with laid_out(tmp_path) as (shelf, hub), visitor(browser) as page:
        shelf.file("/files/7k3q/a.txt", "Tŷ’r Ysgol — جدول".encode())
        await page.goto(f"{hub}/files/7k3q/a.txt")
        assert await page.inner_text("body") == "Tŷ’r Ysgol — جدول"


@pytest.mark.parametrize("padding", [0, 3 * WINDOW])
async def test_a_pdf_is_shown_by_the_browser_itself(browser: Browser, tmp_path: Path, padding: int) -> None:
    async with laid_out(tmp_path) as (shelf, hub), visitor(browser) as page:
        shelf.file("/files/7k3q/a.pdf", pdf() + b"%" * padding + (b"\n" + pdf() if padding else b""))
        await page.goto(f"{hub}/files/7k3q/a.pdf")
        for _ in range(50):
            if await redness(page) > 10_000:
                break
            await asyncio.sleep(0.1)
        assert await redness(page) > 10_000


async def test_a_recording_is_heard_and_can_be_wound_to_any_place(browser: Browser, tmp_path: Path) -> None:
    async with laid_out(tmp_path) as (shelf, hub), visitor(browser) as page:
        shelf.file("/files/7k3q/a.wav", await asyncio.to_thread(sound, 120, 44_100))
        shelf.html("/play", '<audio controls preload=metadata src="/files/7k3q/a.wav"></audio>')
        await page.goto(f"{hub}/play")
        await page.wait_for_function("document.querySelector('audio').readyState >= 1")
        assert await page.evaluate("Math.round(document.querySelector('audio').duration)") == 120
        for at in (110, 20, 119):
            await page.evaluate(
                """at => new Promise(done => { const heard = document.querySelector('audio');
                    heard.onseeked = done; heard.currentTime = at; })""",
                at,
            )
            await page.wait_for_function("document.querySelector('audio').readyState >= 2")
            assert await page.evaluate("Math.round(document.querySelector('audio').currentTime)") == at
        await page.goto(f"{hub}/files/7k3q/a.wav")
        await page.wait_for_function("document.querySelector('video, audio').readyState >= 2")


async def film(page: Page) -> bytes:
    """Two seconds of changing colours as a WebM, made by the browser."""
    made: str = await page.evaluate(
        """async () => {
            const canvas = document.createElement('canvas');
            canvas.width = 160; canvas.height = 120;
            const paint = canvas.getContext('2d'), parts = [];
            const recorder = new MediaRecorder(canvas.captureStream(25), {mimeType: 'video/webm;codecs=vp8'});
            recorder.ondataavailable = event => parts.push(event.data);
            const ended = new Promise(done => recorder.onstop = done);
            recorder.start();
            for (let frame = 0; frame < 50; frame++) {
                paint.fillStyle = `hsl(${frame * 7}, 90%, 50%)`;
                paint.fillRect(0, 0, 160, 120);
                await new Promise(done => setTimeout(done, 40));
            }
            recorder.stop();
            await ended;
            const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
            return btoa(String.fromCharCode(...bytes));
        }"""
    )
    return base64.b64decode(made)


async def test_a_film_is_shown_in_a_page_and_as_a_page_of_its_own(browser: Browser, tmp_path: Path) -> None:
    async with laid_out(tmp_path) as (shelf, hub), visitor(browser) as page:
        await page.goto(hub)
        shelf.file("/files/7k3q/a.webm", await film(page))
        shelf.html("/play", '<video controls preload=auto src="/files/7k3q/a.webm"></video>')
        for path in ("/play", "/files/7k3q/a.webm"):
            await page.goto(f"{hub}{path}")
            await page.wait_for_function("document.querySelector('video').readyState >= 2")
            assert await page.evaluate("document.querySelector('video').videoWidth") == 160


@pytest.mark.parametrize("name", ["جدول الاجتماعات.docx", "Tŷ’r Ysgol (2).odt", "Menu.html", "Łódź.svg"])
async def test_the_rest_is_saved_under_its_own_name(browser: Browser, tmp_path: Path, name: str) -> None:
    data = HTML * 2000
    async with laid_out(tmp_path) as (shelf, hub), visitor(browser) as page:
        shelf.file(f"/files/7k3q/{name}", data)
        await page.goto(hub)
        async with page.expect_download() as download:
            await opened(page, f"{hub}/files/7k3q/{name}")
        saved = await download.value
        assert saved.suggested_filename == name
        assert await asyncio.to_thread(Path(await saved.path()).read_bytes) == data


async def test_what_can_be_shown_is_saved_where_a_page_asks_for_that(
    browser: Browser, tmp_path: Path
) -> None:
    async with laid_out(tmp_path) as (shelf, hub), visitor(browser) as page:
        shelf.file("/files/7k3q/a.pdf", pdf(), inline=False)
        await page.goto(hub)
        async with page.expect_download() as download:
            await opened(page, f"{hub}/files/7k3q/a.pdf?download=1")
        assert (await download.value).suggested_filename == "a.pdf"
