"""Debian's Chromium as a resident's phone, and what is measured on the pages it shows.

Pages are opened as ``http://<name>.local:<port>/``: 127.0.0.1 is a secure context and hides what
plain HTTP lacks, so every address that does not end in ``.local`` is unreachable from here.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Page, Request, ViewportSize, async_playwright

from tests.needs import program

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP *.local 127.0.0.1, MAP * ~NOTFOUND",
)
PATIENCE_MS = 15_000
"""How long a visitor waits for anything on a page."""
PHONE_WIDTH = 360
NARROW_WIDTH = 320
"""CSS pixels; also what is left of 1280 at 400 % zoom (WCAG 2.2, 1.4.10)."""
LEAST_CONTROL = 44
"""CSS pixels each way of everything that is pressed or filled in, links within text excepted."""
AXE_TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice")
LANGUAGES = {"en": "en-GB", "cy": "cy-GB", "pl": "pl-PL", "ur": "ur-PK", "ar": "ar-SY"}


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A running Chromium; the test cannot run where it is not installed."""
    executable = program("chromium", "chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
        try:
            yield browser
        finally:
            await browser.close()


@contextlib.asynccontextmanager
async def visitor(
    browser: Browser,
    *,
    width: int = PHONE_WIDTH,
    height: int = 640,
    script: bool = True,
    dark: bool = False,
    lang: str = "en",
) -> AsyncIterator[Page]:
    """A new visitor's empty tab: no cookies, nothing cached, sizes in CSS pixels.

    Fails at the end if a page broke its own content policy, its script threw, or it asked for
    anything from outside the hub.
    """
    context = await browser.new_context(
        viewport=ViewportSize(width=width, height=height),
        java_script_enabled=script,
        color_scheme="dark" if dark else "light",
        locale=LANGUAGES.get(lang, lang),
        reduced_motion="reduce",
    )
    context.set_default_timeout(PATIENCE_MS)
    faults: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            faults.append(message.text)

    def asked(request: Request) -> None:
        # The last two are the browser's own PDF viewer, which no page can ask for.
        own = r"(http://[\w.-]+\.local(:\d+)?/|data:|blob:|about:|chrome://|chrome-extension://)"
        if not re.match(own, request.url):
            faults.append(f"asked for {request.url}")

    context.on("console", heard)
    context.on("request", asked)
    context.on("weberror", lambda error: faults.append(f"script failed: {error.error}"))
    try:
        yield await context.new_page()
    finally:
        await context.close()
    assert not faults, "; ".join(faults)


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule of axe that elements of a page break."""

    rule: str
    help: str
    elements: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.rule}: {self.help}: {' | '.join(self.elements[:3])}"


@cache
def _axe_source() -> str:
    return resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


async def axe_violations(page: Page) -> list[Violation]:
    """What axe finds against WCAG 2.2 A and AA and its best practices on the page as it now is.

    The page must have been opened with script on: axe is a script.
    """
    source = await asyncio.to_thread(_axe_source)
    await page.evaluate(f"() => {{ {source} }}")
    found: list[dict[str, Any]] = await page.evaluate(
        "async tags => (await axe.run(document, {runOnly: tags, resultTypes: ['violations']})).violations",
        list(AXE_TAGS),
    )
    return [
        Violation(rule["id"], rule["help"], tuple(node["html"] for node in rule["nodes"])) for rule in found
    ]


async def sideways_scroll(page: Page) -> list[str]:
    """Nothing when the page fits its width; else by how much it does not, and what sticks out."""
    found: list[str] = await page.evaluate(
        """() => {
            const root = document.scrollingElement, over = root.scrollWidth - root.clientWidth;
            if (over <= 0) return [];
            const sticking = [...document.body.querySelectorAll('*')].filter(element => {
                const box = element.getBoundingClientRect();
                return box.width && (box.right > root.clientWidth + 0.5 || box.left < -0.5);
            });
            return [`${over} px`, ...sticking.slice(-5).map(element => element.outerHTML.slice(0, 120))];
        }"""
    )
    return found


async def small_controls(page: Page, least: int = LEAST_CONTROL) -> list[str]:
    """Buttons, fields and block links that measure less than ``least`` CSS pixels either way.

    Each is focused first, so that a skip link is measured as it shows; closed ``details`` are opened;
    a tick box or a radio button counts together with its label.
    """
    found: list[str] = await page.evaluate(
        """least => {
            for (const details of document.querySelectorAll('details')) details.open = true;
            const controls = 'button, summary, select, textarea, input:not([type=hidden]), a[href]';
            const small = [];
            for (const control of document.querySelectorAll(controls)) {
                control.focus({preventScroll: true});
                const style = getComputedStyle(control);
                if (control.matches('a') && style.display === 'inline') continue;
                if (control.closest('[aria-hidden=true]')) continue;
                if (!control.getClientRects().length || style.visibility === 'hidden') continue;
                const boxes = [control, ...(control.matches('[type=checkbox], [type=radio]')
                    ? control.labels : [])].map(element => element.getBoundingClientRect());
                const width = Math.max(...boxes.map(box => box.right))
                    - Math.min(...boxes.map(box => box.left));
                const height = Math.max(...boxes.map(box => box.bottom))
                    - Math.min(...boxes.map(box => box.top));
                if (width < least - 0.5 || height < least - 0.5)
                    small.push(`${width.toFixed(1)} × ${height.toFixed(1)}: `
                        + control.outerHTML.slice(0, 120));
            }
            document.activeElement?.blur();
            return small;
        }""",
        least,
    )
    return found


async def sheets_when_printed(page: Page, paper: str = "A4") -> int:
    """How many sheets of ``paper`` the page prints on."""
    pdf = await page.pdf(format=paper, prefer_css_page_size=True)
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one view cost: requests, and bytes each way with all headers."""

    requests: int
    sent: int
    received: int


class Wire:
    """A TCP relay in front of a hub that counts what goes through; ``port`` is where it listens."""

    def __init__(self, hub_port: int) -> None:
        self._hub_port = hub_port
        self._requests = self._sent = self._received = 0
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection both ways until both ends have closed it, or ``hang_up``."""
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        writers = [writer]
        try:
            hub_reader, hub_writer = await asyncio.open_connection("127.0.0.1", self._hub_port)
            writers.append(hub_writer)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._carry(reader, hub_writer, outgoing=True))
                ways.create_task(self._carry(hub_reader, writer, outgoing=False))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(connection)
            for each in writers:
                each.close()
            for each in writers:
                with contextlib.suppress(OSError):
                    await each.wait_closed()

    async def hang_up(self) -> None:
        """End the connections that are still open."""
        ending = list(self._connections)
        for connection in ending:
            connection.cancel()
        await asyncio.gather(*ending)

    async def _carry(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, outgoing: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65_536):
                if outgoing:
                    self._sent += len(data)
                    self._requests += len(re.findall(rb"(?m)^[A-Z]+ \S+ HTTP/1\.1\r$", data))
                else:
                    self._received += len(data)
                sink.write(data)
                await sink.drain()
            sink.write_eof()

    async def counted(self, quiet: float = 0.15) -> Traffic:
        """What went through since the last call, once nothing has for ``quiet`` seconds."""
        while True:
            seen = self._sent + self._received
            await asyncio.sleep(quiet)
            if self._sent + self._received == seen:
                break
        traffic = Traffic(self._requests, self._sent, self._received)
        self._requests = self._sent = self._received = 0
        return traffic


@contextlib.asynccontextmanager
async def wire_to(hub_port: int) -> AsyncIterator[Wire]:
    """A ``Wire`` to the hub on ``hub_port`` of this machine."""
    wire = Wire(hub_port)
    server = await asyncio.start_server(wire.relay, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()
        await wire.hang_up()


async def cost_of_view(
    browser: Browser, hub_port: int, path: str, *, host: str = "hub.local", script: bool = True
) -> tuple[Traffic, Traffic]:
    """What the first and the second view of ``path`` cost a visitor who comes with nothing cached."""
    async with wire_to(hub_port) as wire, visitor(browser, script=script) as page:
        views = []
        for _ in range(2):
            await page.goto(f"http://{host}:{wire.port}{path}", wait_until="load")
            views.append(await wire.counted())
            await page.goto("about:blank")  # going to the page one is on would count as a reload
    return views[0], views[1]
