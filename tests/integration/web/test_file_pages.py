"""The pages of the file share over the wire: what is answered, kept, refused early, and shown to whom."""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
import zipfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import aiohttp
import pytest_asyncio

from hub.domain.files import Collection
from hub.services.filekeeping import Wanted
from tests.integration.conftest import Street

MB = 1_000_000


@dataclass(slots=True)
class Got:
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def location(self) -> str:
        return self.headers["Location"]


@dataclass(slots=True)
class Phone:
    """A browser without script: it keeps its cookie and follows nothing by itself."""

    base: str
    session: aiohttp.ClientSession
    cookies: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, method: str = "GET", **headers: str) -> Got:
        return await self._ask(method, path, None, headers)

    async def post(self, path: str, fields: dict[str, str] | None = None, **headers: str) -> Got:
        data = aiohttp.FormData(fields or {"website": ""})
        return await self._ask("POST", path, data, {"Origin": self.base, **headers})

    async def add(self, box: str, *files: tuple[str, bytes], **fields: str) -> Got:
        """Send the form of a collection, its words before its files as the page has them."""
        data = aiohttp.FormData(fields)
        for name, content in files:
            data.add_field(
                "file", io.BytesIO(content), filename=name, content_type="application/octet-stream"
            )
        return await self._ask("POST", f"/collections/{box}/add", data, {"Origin": self.base})

    async def follow(self, answer: Got) -> Got:
        assert answer.status == 303, answer.text
        return await self.get(answer.location)

    async def _ask(
        self, method: str, path: str, data: aiohttp.FormData | None, headers: dict[str, str]
    ) -> Got:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(
            method, self.base + path, data=data, headers=named, cookies=self.cookies, allow_redirects=False
        ) as answer:
            self.cookies |= {name: morsel.value for name, morsel in answer.cookies.items()}
            return Got(answer.status, answer.headers, await answer.read())


@pytest_asyncio.fixture
async def phones(listening: Street) -> AsyncIterator[list[Phone]]:
    """Three phones of different people."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield [Phone(f"http://127.0.0.1:{listening.hub.port}", session) for _ in range(3)]


@pytest_asyncio.fixture
async def box(listening: Street) -> Collection:
    """The open box."""
    [collection] = await listening.hub.share.collections()
    return collection


def links(page: Got) -> list[str]:
    """Where the receipt leads."""
    receipt = re.search(r'class="say receipt".*?</section>', page.text, re.DOTALL)
    return re.findall(r'href="(/files/[^"]+)"', receipt[0]) if receipt else []


def bytes_link(page: Got) -> str:
    found = re.search(r'href="(/files/[^"]+)\?download=1"', page.text)
    assert found
    return found[1]


async def test_adding_answers_with_the_collection_and_a_receipt_seen_by_its_writer_only(
    phones: list[Phone], box: Collection
) -> None:
    ann, bob, _ = phones
    answer = await ann.add(box.public_id, ("Menu.pdf", b"%PDF menu"), description="For Sunday", name="Ann")
    assert answer.status == 303
    assert "device" in ann.cookies
    page = await ann.get(answer.location)
    assert "Thank you. Here is what became of your files." in page.text
    assert len(links(page)) == 1
    assert "Keep these four words" in page.text
    other = await bob.get(answer.location)
    assert links(other) == []
    assert "Keep these four words" not in other.text
    assert "Menu.pdf" in other.text


async def test_the_same_form_sent_twice_adds_once(phones: list[Phone], box: Collection) -> None:
    ann = phones[0]
    for _ in range(2):
        page = await ann.follow(await ann.add(box.public_id, ("A.txt", b"a"), ("B.txt", b"b"), key="one"))
        assert len(links(page)) == 2
    page = await ann.get(f"/collections/{box.public_id}")
    assert re.findall(r"[AB][^<]*\.txt(?=</a>)", page.text) == ["B.txt", "A.txt"]


async def test_bytes_come_back_as_they_were_inline_or_to_be_saved(
    phones: list[Phone], box: Collection
) -> None:
    ann = phones[0]
    content = bytes(range(256)) * 900
    page = await ann.follow(await ann.add(box.public_id, ("Menü (1).pdf", content)))
    file = await ann.get(links(page)[0])
    assert hashlib.sha256(content).hexdigest() in file.text
    path = bytes_link(file)
    shown = await ann.get(path)
    assert shown.body == content
    assert shown.headers["Content-Disposition"].startswith("inline")
    assert shown.headers["Content-Type"] == "application/pdf"
    saved = await ann.get(f"{path}?download=1")
    assert saved.headers["Content-Disposition"].startswith("attachment")
    part = await ann.get(path, Range="bytes=5-9")
    assert (part.status, part.body) == (206, content[5:10])
    assert (await ann.get(path, "HEAD")).body == b""


async def test_a_collection_is_one_zip(phones: list[Phone], box: Collection, listening: Street) -> None:
    ann = phones[0]
    assert (await ann.get(f"/collections/{box.public_id}/x.zip")).status == 404
    await ann.add(box.public_id, ("A.txt", b"a" * 100), ("B.txt", b"b" * 100_000))
    page = await ann.get(f"/collections/{box.public_id}")
    found = re.search(r'href="(/collections/[^"]+\.zip)"', page.text)
    assert found
    packed = await ann.get(found[1])
    with zipfile.ZipFile(io.BytesIO(packed.body)) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ["A.txt", "B.txt"]
    [lost, _] = [file for file, _ in await listening.hub.share.newest(2)]
    await asyncio.to_thread(listening.hub.blobs.path(lost.blob.sha256).unlink)
    with zipfile.ZipFile(io.BytesIO((await ann.get(found[1])).body)) as archive:
        assert len(archive.namelist()) == 1


async def test_a_damaged_copy_says_so_and_is_not_given_out(
    phones: list[Phone], box: Collection, listening: Street
) -> None:
    ann = phones[0]
    await ann.add(box.public_id, ("A.txt", b"a" * 100))
    [(file, _)] = await listening.hub.share.newest(1)
    await asyncio.to_thread(listening.hub.blobs.path(file.blob.sha256).unlink)
    page = await ann.get(f"/files/{file.public_id}")
    assert page.status == 200
    assert "This copy is damaged" in page.text
    assert "download=1" not in page.text
    assert (await ann.get(f"/files/{file.public_id}/A.txt")).status == 404


# --- refusals -------------------------------------------------------------------------------------


async def refused_early(phone: Phone, path: str, length: int, words: str) -> tuple[int, str]:
    """Announce a form of ``length`` bytes, send its words and the beginning of a file: what is answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(phone.base.rpartition(":")[2]))
    try:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {phone.base[7:]}\r\nOrigin: {phone.base}\r\n"
            f"Content-Type: multipart/form-data; boundary=edge\r\nContent-Length: {length}\r\n\r\n"
        )
        part = '--edge\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
        file = '--edge\r\nContent-Disposition: form-data; name="file"; filename="Film.mp4"\r\n\r\n'
        writer.write((head + part.format("description", words) + file).encode() + bytes(40 * MB))
        answered = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        size = re.search(r"content-length: (\d+)", answered)
        assert size
        return int(answered.split()[1]), (await reader.readexactly(int(size[1]))).decode()
    finally:
        writer.transport.abort()


async def test_what_cannot_be_kept_is_refused_in_words_before_it_is_sent(
    phones: list[Phone], box: Collection, listening: Street
) -> None:
    ann = phones[0]
    path = f"/collections/{box.public_id}/add"
    status, text = await refused_early(ann, path, 900_000 * MB, "The whole film")
    assert status in (429, 507)
    assert "The whole film" in text
    await listening.setting("files.device_megabytes", "1000000000")
    status, text = await refused_early(ann, path, 900_000_000 * MB, "The whole film")
    assert status == 507
    assert "The hub has no room left to keep this." in text
    assert 'value="The whole film"' in text
    assert await listening.hub.share.newest(1) == []


async def test_an_expecting_client_is_refused_before_its_bytes(phones: list[Phone], box: Collection) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(phones[0].base.rpartition(":")[2]))
    writer.write(
        f"POST /collections/{box.public_id}/add HTTP/1.1\r\nHost: {phones[0].base[7:]}\r\n"
        f"Origin: {phones[0].base}\r\nContent-Type: multipart/form-data; boundary=edge\r\n"
        f"Content-Length: {900_000 * MB}\r\nExpect: 100-continue\r\n\r\n".encode()
    )
    assert (await reader.readline()).split()[1] in (b"429", b"507")
    writer.close()


async def test_a_file_over_the_limit_is_413_and_the_words_come_back(
    phones: list[Phone], box: Collection, listening: Street
) -> None:
    ann = phones[0]
    await listening.setting("files.largest_megabytes", "1")
    answer = await ann.add(box.public_id, ("Film.mp4", bytes(3 * MB)), description="The film", name="Ann")
    assert answer.status == 413
    assert "Choose at most 100 files of up to 1 MB each" in answer.text
    assert 'value="The film"' in answer.text
    assert 'value="Ann"' in answer.text
    assert "<title>Error: " in answer.text
    assert await asyncio.to_thread(lambda: list((listening.data / "uploads").iterdir())) == []


async def test_a_quota_used_up_is_429_and_says_what_is_left(
    phones: list[Phone], box: Collection, listening: Street
) -> None:
    ann = phones[0]
    await listening.setting("files.device_megabytes", "1")
    assert (await ann.add(box.public_id, ("A.bin", bytes(700_000)))).status == 303
    answer = await ann.add(box.public_id, ("B.bin", bytes(700_001)), description="More")
    assert answer.status == 429
    assert "Retry-After" in answer.headers
    assert "are left for today" in answer.text
    assert 'value="More"' in answer.text
    form = await ann.get(f"/collections/{box.public_id}/add")
    assert re.search(r"You can add \d+ kB more today", form.text)


async def test_pausing_brings_the_words_back_and_hides_the_button(
    phones: list[Phone], box: Collection, listening: Street
) -> None:
    ann = phones[0]
    await listening.setting("board.posting", "paused")
    answer = await ann.add(box.public_id, ("A.txt", b"a"), description="Later then")
    assert answer.status == 403
    assert 'value="Later then"' in answer.text
    assert "/add" not in (await ann.get(f"/collections/{box.public_id}")).text
    assert (await ann.get(f"/collections/{box.public_id}/add")).status == 403


async def test_the_trap_and_a_form_without_files_are_refused(phones: list[Phone], box: Collection) -> None:
    ann = phones[0]
    assert (await ann.add(box.public_id, ("A.txt", b"a"), website="x")).status == 422
    answer = await ann.add(box.public_id, description="nothing")
    assert answer.status == 422
    assert '<a href="#file">Choose at least one file.</a>' in answer.text


async def test_names_are_cleaned_and_shown_as_they_are_kept(phones: list[Phone], box: Collection) -> None:
    ann = phones[0]
    hostile = ["../../etc/passwd", "con.txt", "a\u202efdp.exe", "x" * 900 + ".pdf", "<b>&.txt", "nul"]
    data = [(name, b"%d" % number) for number, name in enumerate(hostile)]
    page = await ann.follow(await ann.add(box.public_id, *data))
    shown = (await ann.get(f"/collections/{box.public_id}")).text
    assert len(links(page)) == len(hostile)
    assert "passwd" in shown
    assert "_con.txt" in shown
    assert "\u202e" not in shown
    assert "<b>&.txt" not in shown
    for link in links(page):
        file = await ann.get(link)
        assert file.status == 200
        assert (await ann.get(bytes_link(file))).status == 200
    answer = await ann.add(box.public_id, ("x" * 5000 + ".pdf", b"x"))
    assert answer.status == 400
    assert "did not arrive in one piece" in answer.text


async def test_only_caretakers_add_where_they_said_so(
    phones: list[Phone], box: Collection, listening: Street
) -> None:
    ann = phones[0]
    made = await make_collection(listening, "Rotas", may_add="caretakers")
    assert (await ann.get(f"/collections/{made}/add")).status == 403
    answer = await ann.add(made, ("A.txt", b"a"))
    assert answer.status == 403
    assert "Only the people who look after the hub" in answer.text
    assert "/add" not in (await ann.get(f"/collections/{made}")).text


async def make_collection(street: Street, title: str, *, may_add: str = "everyone") -> str:
    """A collection as a caretaker makes it; its public id."""
    made = await street.hub.filekeeping.add_collection(Wanted(title=title, may_add=may_add), actor="gwen")
    return made.public_id


# --- who sees what --------------------------------------------------------------------------------


async def test_what_waits_is_the_owners_alone_whatever_was_kept(
    phones: list[Phone], listening: Street
) -> None:
    ann, bob, nobody = phones
    made = await make_collection(listening, "Choir", may_add="checked")
    page = await ann.follow(await ann.add(made, ("Song.mp3", b"la" * 50_000)))
    assert "Your files are waiting" in page.text
    [link] = links(page)
    await bob.add((await listening.hub.share.collections())[1].public_id, ("Own.txt", b"x"))
    path = bytes_link(await ann.get(link))
    for _ in range(2):
        assert "Song.mp3" in (await ann.get(f"/collections/{made}")).text
        assert (await ann.get(path)).status == 200
        for other in (bob, nobody):
            assert "Song.mp3" not in (await other.get(f"/collections/{made}")).text
            assert (await other.get(link)).status == 404
            assert (await other.get(path)).status == 404
    assert "Song" not in (await nobody.get("/files")).text


async def test_taking_down_and_putting_back_with_cookie_and_with_phrase(
    phones: list[Phone], box: Collection
) -> None:
    ann, bob, _ = phones
    page = await ann.follow(await ann.add(box.public_id, ("A.txt", b"a")))
    [link] = links(page)
    found = re.search(r'<p class="words"[^>]*>([^<]+)</p>', page.text)
    assert found
    here = link.partition("-")[0]
    assert (await bob.post(f"{here}/remove")).status == 403
    down = await ann.post(f"{here}/remove")
    page = await ann.follow(down)
    assert f'action="{here}/restore"' in page.text
    gone = await bob.get(link)
    assert gone.status == 410
    assert "This is no longer here" in gone.text
    assert (await bob.get(f"{here}/A.txt")).status == 410
    assert (await bob.post(f"{here}/restore")).status == 403
    assert 'name="phrase"' in (await bob.post(f"{here}/restore")).text
    back = await bob.follow(await bob.post(f"{here}/restore", {"phrase": found[1]}))
    assert "Your file is up again." in back.text
    wrong = await bob.post(f"{here}/remove", {"phrase": "one two three four"})
    assert (wrong.status, "do not belong to this" in wrong.text) == (403, True)


async def test_changing_a_name_keeps_names_apart(phones: list[Phone], box: Collection) -> None:
    ann = phones[0]
    page = await ann.follow(await ann.add(box.public_id, ("A.txt", b"a"), ("B.txt", b"b")))
    here = links(page)[0].partition("-")[0]
    changed = await ann.follow(await ann.post(f"{here}/edit", {"name": "B.txt", "description": "Now B"}))
    assert '<h1 dir="auto">B (2).txt</h1>' in changed.text
    assert "Now B" in changed.text
    long = await ann.post(f"{here}/edit", {"name": "B.txt", "description": "x" * 1001})
    assert long.status == 422
    assert "x" * 1001 in long.text


async def test_extending_gives_the_usual_time_from_now(
    phones: list[Phone], box: Collection, listening: Street
) -> None:
    ann = phones[0]
    page = await ann.follow(await ann.add(box.public_id, ("A.txt", b"a")))
    here = links(page)[0].partition("-")[0]
    assert "21 February 2027" in (await ann.get(here)).text
    listening.clock.pass_time(days=10)
    assert "3 March 2027" in (await ann.get(f"{here}/extend")).text
    assert "3 March 2027" in (await ann.follow(await ann.post(f"{here}/extend"))).text


async def test_older_files_are_a_page_away(phones: list[Phone], box: Collection) -> None:
    ann = phones[0]
    await ann.add(box.public_id, *[(f"{number}.txt", b"%d" % number) for number in range(70)])
    first = await ann.get(f"/collections/{box.public_id}")
    assert "70 files" in first.text
    found = re.search(r'rel="next" href="([^"]+)"', first.text)
    assert found
    second = await ann.get(found[1])
    names = re.findall(r">(\d+)\.txt</a>", first.text + second.text)
    assert [int(name) for name in names] == list(range(70))[::-1]
    assert "There are no older files." in (await ann.get(f"/collections/{box.public_id}?before=1")).text
