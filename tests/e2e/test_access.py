"""Every page for everybody: screen readers, small screens, five languages, keyboards, without script."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from hub.runtime.system_clock import SystemClock
from hub.words.catalogues import LANGUAGES
from tests.e2e.browser import NARROW_WIDTH, axe_violations, sideways_scroll, small_controls, visitor
from tests.e2e.html_validator import html_problems
from tests.e2e.hub_process import HubProcess

TWENTY_TIMES = "gutters, " * 20


@dataclass(frozen=True, slots=True)
class Sent:
    """A form that is refused: what is sent to ``path``."""

    path: str
    fields: Mapping[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pages(street: HubProcess) -> Mapping[str, str | Sent]:
    """Every kind of page the hub has, by what it is: an address, or a form that comes back."""
    items = (await street.json("/notices.json"))["items"]
    shown = [await street.json(f"/notices/{item['id']}.json") for item in items]
    answered = next(item for item in shown if item.get("replies") and item["language"] == "en")
    pictured = next(item for item in shown if item.get("pictures"))
    reply = answered["replies"][0]["id"]
    erased = next(item["id"] for item in await street.told("notices", "list", "gone"))
    now_ms = SystemClock().now_ms()
    every = await street.told("notices", "list", "all")
    ended = next(item["id"] for item in every if item["expires_ms"] < now_ms and item["state"] != "erased")
    [report] = await street.told("reports", "list")
    older = (await street.json("/notices.json"))["next_url"].partition("before=")[2]
    notice = f"/notices/{answered['id']}"
    return {
        "board": "/",
        "a kind": "/notices?kind=lost",
        "older notices": f"/notices?before={older}",
        "nothing older": "/notices?before=1",
        "notice with replies": await street.path_of(answered["id"]),
        "notice with picture": await street.path_of(pictured["id"]),
        "ended notice": await street.path_of(ended),
        "new": "/notices/new",
        "refused notice": Sent("/notices", {"text": "**No title**\n- one", "until": "someday"}),
        "edit": f"{notice}/edit",
        "refused edit": Sent(f"{notice}/edit", {"title": "Mine", "phrase": "not the right words"}),
        "take down": f"{notice}/remove",
        "wrong phrase": Sent(f"{notice}/remove", {"phrase": "not the right words"}),
        "extend": f"{notice}/extend",
        "refused reply": Sent(f"{notice}/replies", {"name": "Nobody"}),
        "edit a reply": f"/replies/{reply}/edit",
        "take down a reply": f"/replies/{reply}/remove",
        "report": f"{notice}/report",
        "report a reply": f"/replies/{reply}/report",
        "refused report": Sent(f"{notice}/report", {"text": TWENTY_TIMES}),
        "reports": "/reports",
        "outcome of a report": f"/reports?ref={report['reference']}&thanks",
        "unknown report": "/reports?ref=0000-0000",
        "search": "/search",
        "found": "/search?q=ladder",
        "not found": "/search?q=xylophone",
        "about": "/about",
        "neighbours": "/neighbours",
        "privacy": "/privacy",
        "help": "/help",
        "decisions": "/decisions",
        "poster": f"{notice}/poster",
        "printed board": "/notices/print?large=1",
        "screen": "/screen",
        "no such page": "/nowhere",
        "taken down": f"/notices/{erased}",
    }


async def go(page: Page, hub: HubProcess, place: str | Sent) -> None:
    """Open a page, or send the form that is refused from a page of the hub."""
    if isinstance(place, str):
        await page.goto(hub.at(place))
        return
    await page.goto(hub.at("/robots.txt"))
    async with page.expect_navigation():
        await page.evaluate(
            """([path, fields]) => {
                const form = document.createElement('form');
                form.method = 'post'; form.action = path;
                for (const [name, value] of Object.entries(fields)) {
                    const field = document.createElement('textarea');
                    field.name = name; field.value = value; form.append(field);
                }
                document.body.append(form); form.submit();
            }""",
            [place.path, dict(place.fields)],
        )


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("lang", "dark", "width"),
    [("en", False, NARROW_WIDTH), ("en", True, 1280), ("ar", True, 360)],
)
async def test_axe_finds_nothing_on_any_page(
    browser: Browser,
    street: HubProcess,
    pages: Mapping[str, str | Sent],
    lang: str,
    dark: bool,
    width: int,
) -> None:
    faults: dict[str, list[str]] = {}
    async with visitor(browser, lang=lang, dark=dark, width=width, height=800) as page:
        for name, place in pages.items():
            await go(page, street, place)
            await page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
            found = [str(violation) for violation in await axe_violations(page)]
            if found:
                faults[name] = found
    assert faults == {}


@pytest.mark.parametrize("lang", LANGUAGES)
async def test_every_page_fits_a_narrow_screen_and_fingers_and_says_its_language(
    browser: Browser, street: HubProcess, pages: Mapping[str, str | Sent], lang: str
) -> None:
    faults: dict[str, list[str]] = {}
    async with visitor(browser, lang=lang, width=NARROW_WIDTH) as page:
        for name, place in pages.items():
            await page.set_viewport_size({"width": NARROW_WIDTH, "height": 640})
            await go(page, street, place)
            found = [f"sideways: {each}" for each in await sideways_scroll(page)]
            found += [f"small: {each}" for each in await small_controls(page)]
            await page.set_viewport_size({"width": NARROW_WIDTH, "height": 256})  # 1280 × 1024 at 400 %
            found += [f"sideways at 400 %: {each}" for each in await sideways_scroll(page)]
            if await page.locator("h1").count() != 1:
                found.append("not exactly one h1")
            root = page.locator("html")
            said = (await root.get_attribute("lang"), await root.get_attribute("dir"))
            if said != (lang, LANGUAGES[lang].dir):
                found.append(f"lang and dir are {said}")
            if found:
                faults[name] = found
    assert faults == {}


async def test_text_of_twice_the_size_and_wider_spacing_still_fits(
    browser: Browser, street: HubProcess, pages: Mapping[str, str | Sent]
) -> None:
    faults: dict[str, list[str]] = {}
    async with visitor(browser, width=640) as page:
        for name in ("board", "notice with replies", "refused notice", "help"):
            await go(page, street, pages[name])
            await page.evaluate("document.documentElement.style.fontSize = '200%'")  # WCAG 2.2, 1.4.4
            found = await sideways_scroll(page)
            await page.evaluate(
                """() => {
                    document.documentElement.style.fontSize = '';
                    for (const each of document.querySelectorAll('body *')) {
                        each.style.lineHeight = '1.5'; each.style.letterSpacing = '.12em';
                        each.style.wordSpacing = '.16em';
                    }
                }"""
            )  # WCAG 2.2, 1.4.12
            found += await sideways_scroll(page)
            found += await page.evaluate(
                """() => [...document.querySelectorAll('a, button, p, h1, h2, h3, label, legend, summary')]
                    .filter(each => each.checkVisibility() && !each.closest('.vh, .trap')
                        && getComputedStyle(each).overflow !== 'visible'
                        && each.scrollHeight > each.clientHeight + 1)
                    .map(each => 'clipped: ' + each.outerHTML.slice(0, 100))"""
            )
            if found:
                faults[name] = found
    assert faults == {}


@pytest.mark.parametrize("lang", ["en", "ar"])
async def test_every_page_is_valid_html(
    browser: Browser, street: HubProcess, pages: Mapping[str, str | Sent], lang: str
) -> None:
    documents: dict[str, str] = {}
    for name, place in pages.items():
        if isinstance(place, str):
            answer = await street.answer(place, Accept_Language=lang)
        else:
            answer = await street.send(place.path, place.fields, Accept_Language=lang)
        documents[name] = answer.body.decode()
    assert documents["refused notice"].count('class="error"') == 3
    foreign = await street.answer("/", Host="elsewhere.example", Accept_Language=lang)
    assert foreign.status == 421
    documents["foreign host"] = foreign.body.decode()
    problems = [problem for problem in await html_problems(documents) if not _is_of_words(problem.message)]
    assert [str(problem) for problem in problems] == []


def _is_of_words(message: str) -> bool:
    """Residents may write a letter and its accent apart; the checker would have them as one."""
    return "Normalization Form C" in message


@pytest.mark.parametrize("lang", ["en", "ar"])
async def test_the_keyboard_reaches_every_control_and_shows_where_it_is(
    browser: Browser, street: HubProcess, pages: Mapping[str, str | Sent], lang: str
) -> None:
    for name in ("board", "notice with replies", "new", "refused notice"):
        async with visitor(browser, lang=lang) as page:
            await go(page, street, pages[name])
            await page.evaluate("document.activeElement.blur()")
            expected = await page.evaluate(_REACHABLE)
            reached: list[int] = []
            while (stop := await _next_stop(page)) is not None and len(reached) < 300:
                assert stop["ring"], f"{name}: no ring on {stop['html']}"
                assert stop["seen"], f"{name}: out of sight: {stop['html']}"
                reached.append(stop["number"])
            first = reached[0] if name == "refused notice" else 0  # there the summary has the focus
            assert sorted(set(reached)) == list(range(first, expected)), name


_REACHABLE = """() => {
    const controls = 'a[href], button, summary, input:not([type=hidden]), select, textarea';
    const all = [...document.querySelectorAll(controls)].filter(each => each.tabIndex >= 0
        && (each.matches('.skip') || each.checkVisibility({visibilityProperty: true})));
    const radios = new Set();
    const stops = all.filter(each => each.type !== 'radio'
        || (!radios.has(each.name) && radios.add(each.name)));
    stops.forEach((each, number) => each.dataset.stop = number);
    return stops.length;
}"""


async def _next_stop(page: Page) -> dict[str, Any] | None:
    """Press Tab; what has the focus then: its number, whether a ring and the control itself are seen."""
    await page.keyboard.press("Tab")
    stop: dict[str, Any] | None = await page.evaluate(
        """() => {
            const focused = document.activeElement;
            if (focused === document.body) return null;
            const style = getComputedStyle(focused), box = focused.getBoundingClientRect();
            const [x, y] = [box.left + Math.min(box.width / 2, 20), box.top + Math.min(box.height / 2, 20)];
            const top = document.elementFromPoint(x, y);
            return {
                number: +(focused.dataset.stop
                    ?? document.querySelector(`[data-stop][name="${focused.name}"]`)?.dataset.stop),
                ring: style.outlineStyle === 'solid' && parseFloat(style.outlineWidth) >= 3,
                seen: !!top && (focused.contains(top) || top.contains(focused)),
                html: focused.outerHTML.slice(0, 120),
            };
        }"""
    )
    return stop


async def test_no_page_needs_script(
    browser: Browser, street: HubProcess, pages: Mapping[str, str | Sent]
) -> None:
    addresses = {name: place for name, place in pages.items() if isinstance(place, str)}
    said: list[dict[str, str]] = []
    for script in (True, False):
        async with visitor(browser, script=script) as page:
            words = {}
            for name, address in addresses.items():
                await page.goto(street.at(address))
                text = await page.inner_text("body")
                words[name] = re.sub(r"\d\d:\d\d", "", text)
            said.append(words)
    with_script, without = said
    assert with_script == without


async def test_a_screen_readers_map_of_a_page_has_its_landmarks_and_headings_in_order(
    browser: Browser, street: HubProcess, pages: Mapping[str, str | Sent]
) -> None:
    async with visitor(browser) as page:
        await go(page, street, pages["notice with replies"])
        tree = await page.locator("body").aria_snapshot()
    assert [
        line.strip(" -:") for line in tree.splitlines() if re.match(r"- (banner|main|contentinfo)", line)
    ] == [
        "banner",
        "main",
        "contentinfo",
    ]
    levels = [int(level) for level in re.findall(r"heading .*\[level=(\d)\]", tree)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert 'link "Change reply 1"' in tree
