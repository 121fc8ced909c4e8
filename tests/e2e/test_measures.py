"""The measures themselves: each finds the fault planted for it and is silent on a sound page."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, Error

from tests.e2e.browser import (
    NARROW_WIDTH,
    axe_violations,
    cost_of_view,
    sheets_when_printed,
    sideways_scroll,
    small_controls,
    visitor,
)
from tests.e2e.html_validator import html_problems

CARD = "<article><h2>A ladder</h2><p>Lent for an afternoon.</p></article>"
SOUND = f"""<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Board</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><link rel="stylesheet" href="/board.css"></head>
<body><main><h1>Board</h1>{CARD}<form action="/search"><label for="q">Search</label>
<input id="q" name="q" type="search" enterkeyhint="search"><button>Search</button></form>
<p>A link <a href="/">within text</a> may be small.</p></main></body></html>"""
CSS = "input, button { font-size: 1rem; min-height: 48px; min-width: 48px } main { max-width: 100% }"
FAULTY = SOUND.replace("</main>", '<p id="wide">x</p><button id="tiny">.</button><img src="/x.png"></main>')
FAULTY_CSS = CSS + "#wide { width: 500px } #tiny { min-width: 20px; padding: 0; min-height: 20px }"
POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; form-action 'self'"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def port() -> AsyncIterator[int]:
    """A little site with a sound page at / and a faulty one at /faulty."""

    async def answer(request: web.Request) -> web.Response:
        body, kind = {
            "/": (SOUND, "text/html"),
            "/faulty": (FAULTY.replace("board.css", "faulty.css"), "text/html"),
            "/inline": (SOUND.replace("<h1>", '<h1 style="color: red">'), "text/html"),
            "/board.css": (CSS, "text/css"),
            "/faulty.css": (FAULTY_CSS, "text/css"),
        }.get(request.path, ("", "text/plain"))
        headers = {"Content-Security-Policy": POLICY}
        if request.path.endswith(".css"):
            headers["Cache-Control"] = "max-age=31536000, immutable"
        return web.Response(text=body, content_type=kind, headers=headers)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def test_a_sound_page_has_no_faults(browser: Browser, port: int) -> None:
    async with visitor(browser, width=NARROW_WIDTH) as page:
        await page.goto(f"http://hub.local:{port}/")
        assert not await page.evaluate("() => window.isSecureContext")
        assert await axe_violations(page) == []
        assert await sideways_scroll(page) == []
        assert await small_controls(page) == []
        assert await sheets_when_printed(page) == 1


async def test_planted_faults_are_found(browser: Browser, port: int) -> None:
    async with visitor(browser, width=NARROW_WIDTH, dark=True, lang="ar") as page:
        await page.goto(f"http://hub.local:{port}/faulty")
        assert "image-alt" in [violation.rule for violation in await axe_violations(page)]
        assert any("wide" in found for found in await sideways_scroll(page))
        assert [control for control in await small_controls(page) if "tiny" in control]


async def test_sizes_are_measured_with_script_off_too(browser: Browser, port: int) -> None:
    async with visitor(browser, script=False) as page:
        await page.goto(f"http://hub.local:{port}/faulty")
        assert await sideways_scroll(page)
        assert await small_controls(page)


async def test_breaking_the_content_policy_fails_the_visit(browser: Browser, port: int) -> None:
    async def visit() -> None:
        async with visitor(browser) as page:
            await page.goto(f"http://hub.local:{port}/inline")

    with pytest.raises(AssertionError, match="Content Security Policy"):
        await visit()


async def test_reaching_outside_fails_the_visit_and_gets_nowhere(browser: Browser) -> None:
    async def visit() -> None:
        async with visitor(browser) as page:
            with pytest.raises(Error, match="ERR_NAME_NOT_RESOLVED"):
                await page.goto("http://example.org/")

    with pytest.raises(AssertionError, match=r"asked for http://example\.org/"):
        await visit()


async def test_the_wire_counts_every_byte_and_what_the_cache_saves(browser: Browser, port: int) -> None:
    first, second = await cost_of_view(browser, port, "/")
    assert (first.requests, second.requests) == (2, 1)
    assert len(SOUND) + len(CSS) < first.received < len(SOUND) + len(CSS) + 1_000
    assert len(SOUND) < second.received < len(SOUND) + 500


async def test_the_html_checker_knows_its_errors_and_todays_html() -> None:
    problems = await html_problems({"sound": SOUND, "faulty": FAULTY})
    assert [problem.document for problem in problems] == ["faulty"]
