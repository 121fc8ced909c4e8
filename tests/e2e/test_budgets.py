"""What a page costs a phone: bytes on the wire with all headers, and requests.

Pictures count for themselves: they are fetched as they come into view, a thumbnail at most 15 kB.
"""

from __future__ import annotations

import gzip
import re

import pytest
from playwright.async_api import Browser, Request

from tests.e2e.browser import LANGUAGES, visitor, wire_to
from tests.e2e.hub_process import HOST, HubProcess

FIRST_VIEW, SECOND_VIEW, UNCHANGED, SCRIPT = 10_000, 6_000, 200, 3_000
"""Bytes."""
REQUESTS = 3
THUMBNAIL = 15_000
PAGES = ("/", "notice", "/notices/new", "/search?q=a")


async def cost(browser: Browser, hub: HubProcess, path: str, lang: str) -> list[tuple[int, int]]:
    """Requests and bytes of the first and the second view, apart from pictures."""
    async with wire_to(hub.port) as wire, visitor(browser, lang=lang) as page:
        finished: list[Request] = []
        page.on("requestfinished", lambda request: finished.append(request))
        views = []
        for _ in range(2):
            finished.clear()
            await page.goto(f"http://{HOST}:{wire.port}{path}", wait_until="load")
            traffic = await wire.counted()
            pictures = [request for request in finished if "/pictures/" in request.url]
            sizes = [await request.sizes() for request in pictures]
            received = sum(each["responseBodySize"] + each["responseHeadersSize"] for each in sizes)
            assert all(each["responseBodySize"] <= THUMBNAIL for each in sizes) or "notices/" in path
            views.append((traffic.requests - len(pictures), traffic.received - received))
            await page.goto("about:blank")
        return views


@pytest.mark.parametrize("lang", LANGUAGES)
async def test_the_pages_most_people_open_stay_within_their_bytes(
    browser: Browser, street: HubProcess, lang: str
) -> None:
    [items] = [(await street.json("/notices.json"))["items"]]
    answered = max(items, key=lambda item: item.get("reply_count", 0))
    over = []
    for page in PAGES:
        path = await street.path_of(answered["id"]) if page == "notice" else page
        (requests, first), (_, second) = await cost(browser, street, path, lang)
        said = f"{page} in {lang}: {first} bytes in {requests} requests, then {second} bytes"
        print(said)  # noqa: T201 - pytest -rP shows it
        if first > FIRST_VIEW or second > SECOND_VIEW or requests > REQUESTS:
            over.append(said)
    assert over == []


async def test_a_page_one_has_already_costs_next_to_nothing(browser: Browser, street: HubProcess) -> None:
    (_, first), (requests, second) = await cost(browser, street, "/", "en")
    assert requests == 1
    assert second <= UNCHANGED < first


async def test_all_script_of_the_hub_together_is_small(street: HubProcess) -> None:
    pages = [await street.text(path) for path in ("/", "/notices/new")]
    scripts = {address for page in pages for address in re.findall(r'src="(/static/[\w-]+\.js)"', page)}
    bodies = [gzip.compress((await street.text(address)).encode(), 9) for address in sorted(scripts)]
    assert len(bodies) == 2
    assert sum(map(len, bodies)) <= SCRIPT
