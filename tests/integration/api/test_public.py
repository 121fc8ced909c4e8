"""The board for programs: JSON Feed, one notice, Atom; what is hidden is nowhere; 304 for who has it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from xml.etree import ElementTree

import aiohttp
import pytest
import pytest_asyncio

from hub.domain.policy import DAY_MS
from tests.integration.conftest import RULE, Street

ATOM = "{http://www.w3.org/2005/Atom}"


@dataclass(frozen=True, slots=True)
class Got:
    """An answer as it came over the wire."""

    status: int
    type: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Reader:
    """A program that reads the board."""

    def __init__(self, port: int, session: aiohttp.ClientSession) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self._session = session

    async def get(self, path: str, method: str = "GET", **headers: str) -> Got:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session.request(method, self.base + path, headers=named) as answer:
            return Got(answer.status, answer.content_type, answer.headers, await answer.read())


@pytest_asyncio.fixture
async def reader(listening: Street) -> AsyncIterator[Reader]:
    async with aiohttp.ClientSession() as session:
        yield Reader(listening.hub.port, session)


async def test_the_board_is_a_json_feed(listening: Street, reader: Reader) -> None:
    ann = listening.person("ann")
    made = await ann.puts_up("Ladder to lend", name="Ann", pictures=(await listening.picture(3, "a ladder"),))
    await listening.person("bob").answers(made.public_id)
    answer = await reader.get("/notices.json")
    assert (answer.status, answer.type) == (200, "application/feed+json")
    feed = answer.json
    assert feed["version"] == "https://jsonfeed.org/version/1.1"
    assert feed["title"] == listening.hub.name
    assert feed["home_page_url"] == f"{reader.base}/"
    assert feed["feed_url"] == f"{reader.base}/notices.json"
    [item] = feed["items"]
    assert item["id"] == made.public_id
    assert item["url"] == f"{reader.base}/n/{made.public_id}"
    assert item["content_text"] == "A ladder of three metres."
    assert datetime.fromisoformat(item["date_published"]).timestamp() * 1000 == listening.clock.ms
    assert item["authors"] == [{"name": "Ann"}]
    assert item["reply_count"] == 1
    assert "replies" not in item
    assert (await reader.get(item["pictures"][0]["url"].removeprefix(reader.base))).status == 200


async def test_one_notice_comes_with_its_replies(listening: Street, reader: Reader) -> None:
    name = (await listening.person("ann").puts_up()).public_id
    reply = await listening.person("bob").answers(name, "Me, please.")
    answer = await reader.get(f"/notices/{name}.json")
    assert (answer.status, answer.type) == (200, "application/json")
    assert [(each["id"], each["content_text"]) for each in answer.json["replies"]] == [
        (reply.public_id, "Me, please.")
    ]
    assert (await reader.get(f"/notices/{name.upper()}.json")).json["id"] == name


async def test_what_is_hidden_gone_or_waiting_is_in_no_answer(listening: Street, reader: Reader) -> None:
    ann = listening.person("ann")
    names = [(await ann.puts_up(title)).public_id for title in ("hidden", "down", "erased")]
    await reader.get("/notices.json")
    await listening.hub.caretaking.hide(names[0], RULE, "gwen")
    await ann.takes_down(names[1])
    await listening.hub.caretaking.erase(names[2], RULE, "gwen")
    await listening.setting("board.posting", "checked")
    names.append((await ann.puts_up("waiting")).public_id)
    assert (await reader.get("/notices.json")).json["items"] == []
    assert b"<entry>" not in (await reader.get("/notices.atom")).body
    statuses = [(await reader.get(f"/notices/{name}.json")).status for name in names]
    assert statuses == [404, 410, 410, 404]


async def test_an_error_is_a_problem_in_the_readers_language(listening: Street, reader: Reader) -> None:
    for path, status in (("/notices/0000000000.json", 404), ("/notices/x.json", 404)):
        answer = await reader.get(path)
        assert (answer.status, answer.type) == (status, "application/problem+json")
        problem = answer.json
        assert (problem["status"], problem["code"], problem["title"]) == (404, "not-found", "Not Found")
        assert problem["detail"]
    english = (await reader.get("/notices/x.json", Accept_Language="en")).json["detail"]
    welsh = (await reader.get("/notices/x.json", Accept_Language="cy")).json["detail"]
    assert english != welsh


async def test_only_one_kind_is_given_where_it_is_asked_for(listening: Street, reader: Reader) -> None:
    ann = listening.person("ann")
    await ann.puts_up("Ladder", kind="give")
    await ann.puts_up("Cat", kind="lost")
    assert [item["title"] for item in (await reader.get("/notices.json?kind=lost")).json["items"]] == ["Cat"]
    assert len((await reader.get("/notices.json?kind=nonsense")).json["items"]) == 2


async def test_the_whole_board_can_be_read_page_by_page(listening: Street, reader: Reader) -> None:
    await listening.setting("limits.per_device", "1000")
    ann = listening.person("ann")
    for number in range(45):
        await ann.puts_up(f"{number}")
        listening.clock.pass_time(seconds=1)
    titles: list[str] = []
    path = "/notices.json"
    while path:
        page = (await reader.get(path)).json
        titles += [item["title"] for item in page["items"]]
        path = page.get("next_url", "").removeprefix(reader.base)
    assert titles == [f"{number}" for number in reversed(range(45))]


async def test_a_pinned_notice_leads_and_comes_once(listening: Street, reader: Reader) -> None:
    ann = listening.person("ann")
    first = (await ann.puts_up("first")).public_id
    listening.clock.pass_time(seconds=1)
    await ann.puts_up("second")
    await listening.hub.caretaking.pin(first, listening.clock.ms + DAY_MS, "gwen")
    items = (await reader.get("/notices.json")).json["items"]
    assert [(item["title"], item.get("pinned", False)) for item in items] == [
        ("first", True),
        ("second", False),
    ]
    assert (await reader.get(f"/notices/{first}.json")).json["pinned"] is True
    listening.clock.pass_time(days=1, seconds=1)
    assert "pinned" not in (await reader.get(f"/notices/{first}.json")).json


@pytest.mark.parametrize("path", ["/notices.json", "/notices.atom", "/openapi.json"])
async def test_who_has_it_is_told_so_in_few_bytes_until_something_changes(
    listening: Street, reader: Reader, path: str
) -> None:
    await listening.person("ann").puts_up()
    first = await reader.get(path)
    assert first.headers["Cache-Control"] == "no-cache"
    again = await reader.get(path, If_None_Match=first.headers["ETag"])
    assert (again.status, again.body) == (304, b"")
    assert sum(len(f"{name}: {value}\r\n") for name, value in again.headers.items()) <= 180
    await listening.person("ann").puts_up("Another")
    later = await reader.get(path, If_None_Match=first.headers["ETag"])
    assert later.status == (304 if path == "/openapi.json" else 200)


async def test_head_answers_as_get_does_without_the_body(listening: Street, reader: Reader) -> None:
    await listening.person("ann").puts_up()
    get, head = await reader.get("/notices.json"), await reader.get("/notices.json", "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(get.body)) or "Content-Encoding" in get.headers
    assert head.headers["ETag"] == get.headers["ETag"]


async def test_other_methods_are_told_what_there_is(reader: Reader) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = await reader.get("/notices.json", method)
        assert answer.status == 405
        assert "GET" in answer.headers["Allow"]


async def test_the_atom_feed_has_what_rfc_4287_asks_for(listening: Street, reader: Reader) -> None:
    ann = listening.person("ann")
    await ann.puts_up('Ladder & "sofa" <to lend>', "**Three** metres & more < four.", name="Ann")
    listening.clock.pass_time(minutes=1)
    await ann.puts_up("سُلَّم", "ثلاثة أمتار", lang="ar")
    answer = await reader.get("/notices.atom")
    assert (answer.status, answer.type) == (200, "application/atom+xml")
    feed = await asyncio.to_thread(ElementTree.fromstring, answer.body)
    assert feed.tag == f"{ATOM}feed"
    for name in ("id", "title", "updated"):
        assert (feed.findtext(f"{ATOM}{name}") or "").strip(), name
    entries = feed.findall(f"{ATOM}entry")
    assert [entry.findtext(f"{ATOM}title") for entry in entries] == ["سُلَّم", 'Ladder & "sofa" <to lend>']
    ids = {entry.findtext(f"{ATOM}id") for entry in entries}
    assert len(ids) == 2
    for each in [feed, *entries]:
        updated = datetime.fromisoformat(each.findtext(f"{ATOM}updated") or "")
        assert updated.tzinfo is not None
        assert any(link.get("href") for link in each.findall(f"{ATOM}link"))
    has_author = feed.find(f"{ATOM}author") is not None
    assert has_author or all(entry.find(f"{ATOM}author") is not None for entry in entries)
    for author in feed.iter(f"{ATOM}author"):
        assert author.findtext(f"{ATOM}name")


async def test_an_empty_board_is_still_a_feed(reader: Reader) -> None:
    assert (await reader.get("/notices.json")).json["items"] == []
    feed = ElementTree.fromstring((await reader.get("/notices.atom")).body)  # noqa: S314 - our own
    assert feed.findtext(f"{ATOM}updated")
    assert feed.findall(f"{ATOM}entry") == []
