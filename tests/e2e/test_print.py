"""Paper: posters that fit one A4 sheet with nothing cut off, and the board in ordinary and large letters."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, Page

from hub.domain.notices import MAX_TEXT
from tests.e2e.browser import sheets_when_printed, visitor
from tests.e2e.hub_process import HubProcess

A4_WORDS_PX = 688
"""CSS pixels across an A4 sheet between its margins of 14 mm."""
SENTENCE = "The boiler man comes on Thursday between eight and noon, so fill a flask the night before. "
URDU = "بوائلر والا جمعرات کو آٹھ اور بارہ کے درمیان آئے گا، اس لیے رات کو ہی تھرماس بھر لیں۔ "
TEXTS = {
    "short": ("No hot water", "Thursday, 8 until noon."),
    "long": ("No hot water on Thursday morning, nor any heating in the hall", SENTENCE * 22),
    "longest": ("No hot water " * 9, (SENTENCE * 50)[:MAX_TEXT]),
    "list": ("What to bring", "\n".join(f"- {number} cups and a spoon" for number in range(1, 61))),
    "short Urdu": ("جمعرات کی صبح گرم پانی نہیں ہوگا", URDU),
    "long Urdu": ("جمعرات کی صبح گرم پانی نہیں ہوگا، اور ہال میں ہیٹنگ بھی نہیں", URDU * 20),
}


@pytest.mark.parametrize("which", TEXTS)
async def test_a_poster_is_one_sheet_and_nothing_is_cut_off(
    browser: Browser, empty_hub: HubProcess, which: str
) -> None:
    title, text = TEXTS[which]
    path = await empty_hub.put_up(title=title[:120], text=text, contact="07700 900123")
    async with visitor(browser, width=A4_WORDS_PX, height=1000) as page:
        await page.goto(empty_hub.at(f"{path.partition('-')[0]}/poster"))
        assert await sheets_when_printed(page) == 1
        assert await cut_off(page) == []


async def test_a_poster_with_a_picture_is_one_sheet_too(browser: Browser, street: HubProcess) -> None:
    items = (await street.json("/notices.json"))["items"]
    pictured = [item["id"] for item in items if item.get("pictures")]
    async with visitor(browser, width=A4_WORDS_PX, height=1000) as page:
        for public_id in pictured[:3]:
            await page.goto(street.at(f"/notices/{public_id}/poster"), wait_until="networkidle")
            assert await sheets_when_printed(page) == 1
            assert await cut_off(page) == []


async def cut_off(page: Page) -> list[str]:
    """What of a poster would not be on the paper."""
    await page.emulate_media(media="print")
    found: list[str] = await page.evaluate(
        """() => {
            const sheet = document.querySelector('main').getBoundingClientRect(), lost = [];
            const body = document.querySelector('.body');
            if (body.scrollWidth > body.clientWidth + 1 || body.scrollHeight > body.clientHeight + 1)
                lost.push(`text: ${body.scrollWidth} × ${body.scrollHeight} in `
                    + `${body.clientWidth} × ${body.clientHeight}`);
            for (const each of document.querySelectorAll('main *')) {
                const box = each.getBoundingClientRect();
                if (box.bottom > sheet.bottom + 1 || box.right > sheet.right + 1 || box.left < sheet.left - 1)
                    lost.push(each.outerHTML.slice(0, 80));
            }
            const code = document.querySelector('.qr').getBoundingClientRect().width;
            if (code < 113) lost.push(`the QR code is ${code} px wide, less than 30 mm`);
            return lost;
        }"""
    )
    return found


async def test_the_whole_board_prints_and_again_in_large_letters(
    browser: Browser, street: HubProcess
) -> None:
    async with visitor(browser, width=A4_WORDS_PX, height=1000) as page:
        sheets, sizes = [], []
        for path in ("/notices/print", "/notices/print?large=1"):
            await page.goto(street.at(path))
            sheets.append(await sheets_when_printed(page))
            await page.emulate_media(media="print")
            sizes.append(
                await page.locator(".slip .text").first.evaluate("each => getComputedStyle(each).fontSize")
            )
            assert not await page.locator("nav").is_visible()
            assert await page.locator(".slip").count() >= 40
        assert sheets[0] < sheets[1]
        assert sizes == ["14px", "24px"]  # 10.5 and 18 points


async def test_a_page_printed_as_it_is_leaves_out_what_paper_cannot_do(
    browser: Browser, street: HubProcess
) -> None:
    [first, *_] = (await street.json("/notices.json"))["items"]
    async with visitor(browser, width=A4_WORDS_PX) as page:
        await page.goto(street.at(f"/n/{first['id']}"))
        pdf = await page.pdf(format="A4")
        assert pdf.startswith(b"%PDF")
        await page.emulate_media(media="print")
        assert await page.locator("h1").is_visible()
        for gone in ("nav", ".foot", "form", ".acts", ".skip"):
            assert not await page.locator(gone).first.is_visible(), gone
