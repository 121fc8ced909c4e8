"""Requests that no browser of a resident sends: nothing changes, nothing breaks, nothing is told."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import socket
import sqlite3
import string
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.api.client import Client
from hub.api.schema import Decision
from hub.app import Hub
from hub.runtime.routing import Router
from tests.integration.hub.hub_process import (
    GENEROUS,
    Answer,
    HubProcess,
    encode_form,
    found_hub,
    hub_command,
    running_hub,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

POLICY = "default-src 'none'"
HIDDEN = "Hidden by a caretaker"
SHOWN = "Ladder to lend"
ANYBODY = {"/notices", "/notices/{id}/replies", "/collections/{id}/add", "/uploads"} | {
    f"/{place}/{{id}}/{act}"
    for act in ("report", "fetch")
    for place in ("notices", "replies", "files", "collections")
}
"""What any device may send to."""


class Stage:
    """A hub with a notice, a reply, a hidden notice and a file, and the tables of its routes."""

    def __init__(
        self, hub: HubProcess, residents: list[tuple[str, str]], caretakers: list[tuple[str, str]]
    ) -> None:
        self.hub = hub
        self._read = 0
        self.residents = residents
        self.caretakers = caretakers
        self.author = hub.visitor()
        self.stranger = hub.visitor()
        fields = {"kind": "give", "title": SHOWN, "text": "Three metres.", "key": "a"}
        self.notice = _id(self.author.post("/notices", fields))
        hidden = _id(self.author.post("/notices", {**fields, "title": HIDDEN, "key": "b"}))
        reply = self.author.post(
            f"/notices/{self.notice}/replies", {"text": "Is it still there?", "key": "c"}
        )
        assert reply.status == 303
        found = re.search(r'id="r-(\w+)"', self.author.get(f"/notices/{self.notice}").text)
        assert found
        self.reply = found[1]
        box = re.search(r'href="/collections/(\w+)', self.author.get("/files").text)
        assert box
        self.collection = box[1]
        papers = [("file", "ladder.txt", b"Three metres, two hooks.")]
        put_up = self.author.post(f"/collections/{self.collection}/add", {"key": "d"}, papers)
        file = re.search(r'href="/files/(\w+)', self.author.get(put_up.location).text)
        assert file
        self.file = file[1]
        Client(hub.data / "run" / "admin.sock").act(hidden, "hide", Decision(rule="1"))
        self.hidden = hidden

    def fill(self, pattern: str, name: str | None = None) -> str:
        """An address of the route: ``name`` or the id of what is there."""
        places = {"replies": self.reply, "collections": self.collection, "files": self.file}
        known = places.get(pattern.split("/")[1], self.notice)
        return re.sub(r"\{\w+\}", name if name is not None else known, pattern)

    def changes(self) -> list[tuple[str, str]]:
        """Method and pattern of every route that changes something."""
        return [(method, pattern) for method, pattern in self.residents if method != "GET"]

    def state(self) -> str:
        """A hash of all that is in the database and of the names of all pictures."""
        digest = hashlib.sha256()
        with contextlib.closing(
            sqlite3.connect(f"file:{self.hub.data / 'hub.db'}?mode=ro", uri=True)
        ) as found:
            for (table,) in found.execute(
                "SELECT name FROM sqlite_schema WHERE sql LIKE '%TABLE%' ORDER BY 1"
            ):
                if not table.startswith("search_"):
                    for row in found.execute(f"SELECT * FROM {table} ORDER BY 1"):  # noqa: S608
                        digest.update(repr((table, row)).encode())
        digest.update(repr(sorted(path.name for path in self.hub.data.glob("blobs/*/*"))).encode())
        return digest.hexdigest()

    def assert_unmoved(self) -> None:
        """It still answers, and has logged no fault of its own."""
        assert self.stranger.get("/healthz").body == b"ok\n"
        log = self.hub.log()
        said, self._read = log[self._read :], len(log)
        assert "Traceback" not in said, said[-2000:]
        assert "failed" not in said, said[-2000:]


def _id(answer: Answer) -> str:
    found = re.match(r"/notices/(\w+)", answer.location)
    assert answer.status == 303, answer.text
    assert found
    return found[1]


async def route_tables(data: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Method and pattern of every route, of residents and of caretakers, as the hub itself has them."""
    hub = await Hub.open(data)
    try:
        return _routes(hub._site._router), _routes(hub._socket._router)
    finally:
        await hub.close()


def _routes(router: Router[object]) -> list[tuple[str, str]]:
    found = [(method, path) for path, handlers in router._whole.items() for method in handlers]
    for pattern, handlers in router._patterns:
        path = re.sub(r"\(\?P<(\w+)>\[\^/\]\+\)", r"{\1}", pattern.pattern).replace("\\", "")
        found += [(method, path) for method in handlers]
    return sorted(found)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    data = found_hub(tmp_path_factory.mktemp("hostile") / "data")
    residents, caretakers = asyncio.run(route_tables(data))
    with running_hub(data, hub_command(data, "--name", "Tanyard Road Hub")) as hub:
        yield Stage(hub, residents, caretakers)


def raw(port: int, request: bytes, wait_s: float = 5.0) -> bytes:
    """Everything the hub answers to these bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait_s) as pipe:
        pipe.sendall(request)
        with contextlib.suppress(OSError):
            pipe.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(OSError):
            while piece := pipe.recv(65536):
                answer += piece
    return answer


def test_the_tables_are_whole(stage: Stage) -> None:
    assert ("POST", "/notices/{id}/edit") in stage.residents
    assert ("POST", "/items/{id}/erase") in stage.caretakers
    assert len(stage.changes()) >= 11


# --- hosts and origins ----------------------------------------------------------------------------

FOREIGN = [
    "evil.example",
    "evil.example:{port}",
    "127.0.0.1.evil.example",
    "localhost.evil.example:{port}",
    "tanyard-road-hub.local.evil.example",
    "0.0.0.0:{port}",
    "127.1:{port}",
    "127.0.0.2:{port}",
    "2130706433",
    "0x7f000001:{port}",
    "[::ffff:127.0.0.1]:{port}",
    "[::1].evil.example",
    "[::1]evil.example:{port}",
    "127.0.0.1:80@evil.example",
    "127.0.0.1:evil.example",
    "user@127.0.0.1",
    "127.0.0.1..:{port}",
    "evil.example, 127.0.0.1",
    "127.0.0.1/evil.example",
    "",
]
OURS = ["127.0.0.1:{port}", "LOCALHOST:{port}", "localhost", "tanyard-road-hub.local", "[::1]:{port}",
        "127.0.0.1.:{port}", "Tanyard-Road-Hub.local.", "hub.home.arpa"]  # fmt: skip


@pytest.mark.parametrize("host", FOREIGN)
def test_a_name_that_is_not_the_hubs_gets_421_and_nothing_to_read(stage: Stage, host: str) -> None:
    host = host.format(port=stage.hub.port)
    before = stage.state()
    for path in ("/", f"/notices/{stage.notice}", "/notices.json", "/healthz"):
        answer = stage.stranger.get(path, {"Host": host})
        assert answer.status in (400, 421), (path, answer.status)
        assert SHOWN not in answer.text
    fields = {"kind": "news", "title": "Rebound", "text": "From elsewhere."}
    sent = stage.author.post("/notices", fields, headers={"Host": host, "Origin": f"http://{host}"})
    assert sent.status in (400, 403, 421)
    assert stage.state() == before
    stage.assert_unmoved()


@pytest.mark.parametrize("host", OURS)
def test_every_name_of_the_hub_is_answered(stage: Stage, host: str) -> None:
    assert stage.stranger.get("/", {"Host": host.format(port=stage.hub.port)}).status == 200


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: evil.example\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"CONNECT evil.example:80 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    ],
)
def test_no_host_or_two_or_another_ones_target_is_refused(stage: Stage, head: bytes) -> None:
    answer = raw(stage.hub.port, head)
    status = answer.split(b" ", 2)[1:2]
    assert not answer or status[0] in (b"400", b"404", b"405", b"421"), answer[:200]
    assert SHOWN.encode() not in answer
    stage.assert_unmoved()


def _origins(port: int) -> list[dict[str, str | None]]:
    own = f"http://127.0.0.1:{port}"
    return [
        {"Origin": None},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": f"https://127.0.0.1:{port}"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": f"http://127.0.0.1:{port + 1}"},
        {"Origin": f"http://localhost:{port}"},
        {"Origin": f"{own}.evil.example"},
        {"Origin": f"http://evil.example@127.0.0.1:{port + 1}"},
        {"Origin": f"http://evil.example/{own}"},
        {"Origin": f"//127.0.0.1:{port}"},
        {"Origin": "http://[::1"},
        {"Origin": "\x80"},
        {"Origin": None, "Referer": "http://evil.example/page"},
        {"Origin": own, "Sec-Fetch-Site": "cross-site"},
        {"Origin": own, "Sec-Fetch-Site": "same-site"},
    ]


def test_no_form_of_another_page_is_taken_by_any_route(stage: Stage) -> None:
    before = stage.state()
    fields = {"kind": "news", "title": "Forged", "text": "Forged.", "reason": "threat", "key": "forged"}
    body, kind = encode_form(fields, [])
    for method, pattern in stage.changes():
        for headers in _origins(stage.hub.port):
            given = {"Content-Type": kind, **headers}
            answer = stage.author.send(method, stage.fill(pattern), body, given)
            assert answer.status == 403, (method, pattern, headers, answer.status)
    assert stage.state() == before
    stage.assert_unmoved()


def test_a_referer_of_the_hub_does_where_an_old_browser_sends_no_origin(stage: Stage) -> None:
    headers = {"Origin": None, "Referer": f"http://127.0.0.1:{stage.hub.port}/notices/new"}
    fields = {"kind": "news", "title": "Old phone", "text": "It works.", "key": "old"}
    assert stage.author.post("/notices", fields, headers=headers).status == 303


# --- what may change what -------------------------------------------------------------------------


def test_reading_changes_nothing(stage: Stage) -> None:
    before = stage.state()
    for method, pattern in stage.residents:
        for name in (None, "zzzzzzzzzz", stage.hidden):
            for way in {"GET", "HEAD", method} - {"POST"}:
                answer = stage.author.send(way, stage.fill(pattern, name) + "?done=put-up&act=remove")
                assert answer.status < 500, (way, pattern, answer.status)
    assert stage.state() == before
    stage.assert_unmoved()


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get", "X-Y"])
def test_other_methods_are_refused_everywhere(stage: Stage, method: str) -> None:
    before = stage.state()
    for _, pattern in stage.residents:
        if (method, pattern) in stage.residents:
            continue
        answer = stage.author.send(method, stage.fill(pattern), b"{}", {"Content-Type": "application/json"})
        assert answer.status in (400, 403, 405), (method, pattern, answer.status)
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert stage.state() == before
    stage.assert_unmoved()


def test_no_address_of_the_caretakers_is_on_the_residents_listener(stage: Stage) -> None:
    before = stage.state()
    for method, pattern in stage.caretakers:
        path = re.sub(r"\{\w+\}", stage.hidden, pattern)
        answer = stage.author.send(
            method, f"{path}?where=all", b'{"rule": "1"}', {"Content-Type": "application/json"}
        )
        if (method, pattern) in stage.residents:
            assert answer.headers["Content-Type"].startswith("text/html"), pattern
        else:
            assert answer.status in (404, 405, 415), (pattern, answer.status)
        assert HIDDEN not in answer.text
    assert stage.state() == before
    stage.assert_unmoved()


def test_only_its_own_device_changes_a_notice_whatever_it_sends(stage: Stage) -> None:
    before = stage.state()
    for cookie in (None, "device=", f"device={'0' * 32}", "device=" + "a" * 5000, "device=é", ";;;=;device"):
        for method, pattern in stage.changes():
            if method != "POST" or pattern in ANYBODY:
                continue
            fields = {"kind": "news", "title": "Taken over", "text": "Mine.", "phrase": ""}
            answer = stage.stranger.post(stage.fill(pattern), fields, headers={"Cookie": cookie})
            assert answer.status == 403, (pattern, cookie, answer.status)
    assert stage.state() == before
    stage.assert_unmoved()


def test_the_phrase_cannot_be_guessed_at_speed(tmp_path: Path) -> None:
    data = found_hub(tmp_path / "data", GENEROUS.replace("phrase_tries = 1000000", "phrase_tries = 10"))
    with running_hub(data) as hub:
        fields = {"kind": "give", "title": SHOWN, "text": "Three metres."}
        name = _id(hub.visitor().post("/notices", fields))
        stranger = hub.visitor()
        answers = [
            stranger.post(f"/notices/{name}/remove", {"phrase": f"moss lamp oak {number}"})
            for number in range(15)
        ]
        assert [answer.status for answer in answers] == [403] * 10 + [429] * 5
        assert int(answers[-1].headers["Retry-After"]) > 0


# --- forms ----------------------------------------------------------------------------------------

_MULTI = "multipart/form-data; boundary=x"
_HEAD = b'--x\r\nContent-Disposition: form-data; name="title"\r\n\r\n'
BODIES: dict[str, tuple[str, bytes]] = {
    "nothing": ("application/x-www-form-urlencoded", b""),
    "json": ("application/json", b'{"title": "x"}'),
    "no type": ("", b"title=x"),
    "broken type": ("multipart/form-data", b"--x"),
    "type of bytes": ("\x80\xff", b"title=x"),
    "empty boundary": ("multipart/form-data; boundary=", b"--\r\n\r\n"),
    "long boundary": (f"multipart/form-data; boundary={'x' * 5000}", b"--x"),
    "no end": (_MULTI, _HEAD + b"x"),
    "no name": (_MULTI, b"--x\r\nContent-Disposition: form-data\r\n\r\nx\r\n--x--\r\n"),
    "name of controls": (
        _MULTI,
        b'--x\r\nContent-Disposition: form-data; name="a\x00\x1b\x7f"\r\n\r\nx\r\n--x--\r\n',
    ),
    "nothing but dashes": (_MULTI, b"-" * 100_000),
    "part without head": (_MULTI, b"--x\r\n\r\nx\r\n--x--\r\n"),
    "a thousand parts": (_MULTI, (_HEAD + b"x\r\n") * 1000 + b"--x--\r\n"),
    "file as a word": (
        _MULTI,
        b'--x\r\nContent-Disposition: form-data; name="title"; filename="../../x"\r\n\r\nx\r\n--x--\r\n',
    ),
    "a picture that is none": (
        _MULTI,
        b'--x\r\nContent-Disposition: form-data; name="picture"; filename="/etc/passwd\x00.jpg"\r\n'
        b"Content-Type: image/svg+xml\r\n\r\n<svg onload='alert(1)'/>\r\n--x--\r\n",
    ),
    "nuls": ("application/x-www-form-urlencoded", b"kind=news&title=%00%00&text=a%00b&name=%00&key=%00"),
    "not utf-8": ("application/x-www-form-urlencoded", b"kind=%ff&title=%fe%ff&text=\xc3\x28&lang=%80"),
    "surrogates": ("application/x-www-form-urlencoded", b"kind=news&title=%ed%a0%80&text=%ed%b0%80"),
    "bad escapes": ("application/x-www-form-urlencoded", b"kind=%&title=%zz&text=%u0041&=&&&=="),
    "same field again and again": ("application/x-www-form-urlencoded", b"kind=news&" * 5000),
    "huge field": ("application/x-www-form-urlencoded", b"kind=news&title=x&text=" + b"A" * 200_000),
    "huge everything": ("application/x-www-form-urlencoded", b"&".join(b"f%d=x" % n for n in range(50_000))),
    "numbers": ("application/x-www-form-urlencoded", b"kind=1&title=1e999&until=99999-99-99&scope=-1&lang=0"),
    "dates": ("application/x-www-form-urlencoded", b"kind=news&title=x&text=x&until=0000-00-00"),
    "turned text": (
        "application/x-www-form-urlencoded",
        b"kind=news&title=%E2%80%AE%E2%81%A6+drawkcab+%EF%BB%BF&text=" + b"%CC%81" * 3000,
    ),
    "tokens of others": (
        "application/x-www-form-urlencoded",
        b"kind=news&title=x&text=x&kept=../../etc/passwd&kept=%00&kept=" + b"0" * 24 + b"&alt-=&phrase=%00",
    ),
    "a long key": ("application/x-www-form-urlencoded", b"reason=threat&text=x&key=" + b"k" * 60_000),
    "a reason of none": ("application/x-www-form-urlencoded", b"reason=__class__&text=%7B0.__class__%7D"),
}  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
def test_a_broken_form_is_refused_by_every_route_in_words(stage: Stage, body: str) -> None:
    kind, content = BODIES[body]
    stranger = stage.hub.visitor()
    for method, pattern in stage.changes():
        for name in (None, "zzzzzzzzzz", "%00", "..", "é" * 50, stage.hidden):
            path = quote(stage.fill(pattern, name), safe="/%")
            answer = stranger.send(method, path, content, {"Content-Type": kind or None})
            assert answer.status < 500, (method, pattern, name, answer.status)
            if answer.status >= 400 and pattern.startswith("/uploads"):
                assert answer.headers["Content-Type"].partition(";")[0] in ("text/plain", "text/html")
                assert len(answer.text) > 20
            elif answer.status >= 400:
                assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
                assert "<h1" in answer.text
    stage.assert_unmoved()
    assert not list((stage.hub.data / "tmp").iterdir())


def test_more_than_fits_is_413_and_what_was_typed_comes_back(stage: Stage) -> None:
    fields = {"kind": "news", "title": "Kept", "text": "What I typed."}
    body, kind = encode_form(fields, [("picture", f"{n}.jpg", b"\0" * 17 * 1024 * 1024) for n in range(2)])
    answer = stage.stranger.send("POST", "/notices", body, {"Content-Type": kind})
    assert answer.status == 413
    assert "What I typed." in answer.text
    stage.assert_unmoved()


# --- addresses ------------------------------------------------------------------------------------

PATHS = [
    "//", "/..", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/static/../key", "/static/..%2fkey",
    "/static/%2e%2e%2fhub.db", "/static/....//key", "/static/key", "/static/%00", "/static/\\..\\key",
    "/pictures/..%2f..%2fkey.jpg", "/pictures/" + "0" * 64 + ".jpg", "/pictures/" + "A" * 64 + ".jpg",
    "/pictures/%00.jpg", "/notices/%00", "/notices/..%2f..", "/notices/" + "%61" * 500, "/notices/%ff%fe",
    "/notices/%ed%a0%80", "/notices/-", "/notices/.json", "/notices/0.json", "/n/", "/n/%20", "/N/%0d%0aX:y",
    "/notices/%0d%0aSet-Cookie:x=1", "/search?q=%00", "/search?q=" + "%ff" * 200, "/search?q=\"'*()^",
    "/search?q=a&before=1.zz", "/search?q=a&before=" + "9" * 30, "/?before=-1", "/?before=1e9",
    "/?before=99999999999999999999", "/?before=9223372036854775807", "/?kind=%00", "/?lang=../../etc",
    "/?done=put-up&undo=../x", "/?done=taken-down&undo=%22%3E%3Cscript%3E", "/?" + "a=1&" * 1000,
    "/reports?ref=%00", "/reports?ref=" + "A" * 1500, "/decisions?before=99999999999999999999",
    "/screen?leaf=-1", "/screen?leaf=99999999999", "/notices/print?large=%00", "/hub.db", "/key",
    "/run/admin.sock",
    "/.git/config", "/%", "/%zz", "/%u002e", "/;/", "/*", "/?%", "/?=&=", "/healthz/", "/HEALTHZ",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_an_odd_address_is_answered_with_a_page(stage: Stage, path: str) -> None:
    answer = stage.stranger.get(path)
    assert answer.status in (200, 303, 400, 404), (path, answer.status)
    assert "root:" not in answer.text
    assert (stage.hub.data / "key").read_bytes() not in answer.body
    assert "Set-Cookie" not in answer.headers or path.startswith("/?lang=")
    assert "<script>" not in answer.text
    assert not answer.location or answer.location.startswith("/")
    assert "//" not in answer.location
    stage.assert_unmoved()


@pytest.mark.parametrize("length", [4000, 5000, 70_000])
def test_an_endless_address_or_head_is_cut_short(stage: Stage, length: int) -> None:
    host = f"Host: 127.0.0.1:{stage.hub.port}\r\n".encode()
    for request in (
        b"GET /" + b"a" * length + b" HTTP/1.1\r\n" + host + b"\r\n",
        b"GET / HTTP/1.1\r\n" + host + b"X: " + b"a" * length + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + host + b"Cookie: device=" + b"a" * length + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + host + b"".join(b"X%d: y\r\n" % n for n in range(length // 10)) + b"\r\n",
    ):
        answer = raw(stage.hub.port, request)
        assert not answer or answer.split(b" ")[1] in (b"200", b"400", b"404"), answer[:100]
    stage.assert_unmoved()


_SEGMENTS = st.one_of(
    st.sampled_from(["notices", "replies", "n", "pictures", "static", "new", "edit", "report", "remove",
                     "poster", "print", "search", "..", ".", "", "restore", "extend", "zzzzzzzzzz", "{id}"]),
    st.text(max_size=20),
    st.binary(max_size=12),
)  # fmt: skip
_WORDS = st.one_of(
    st.text(max_size=40), st.sampled_from(["news", "urgent", "hub", "2026-12-24", "threat", "1", "cy"])
)
_NAMES = st.one_of(
    st.sampled_from(["kind", "title", "text", "name", "contact", "lang", "until", "scope", "key", "kept",
                     "alt1", "website", "phrase", "reason", "q", "before", "done", "undo", "slip", "leaf",
                     "stay", "ref"]),
    st.text(max_size=12),
)  # fmt: skip
_PAIRS = st.lists(st.tuples(_NAMES, _WORDS), max_size=8)
_HEADER = st.text(string.ascii_letters + string.digits + " ,;=*/.\"'()<>@:\\[]{}-_é", max_size=60)
_QUIET = settings(
    max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True
)


def _encoded(pairs: list[tuple[str, str]]) -> str:
    return "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in pairs)


def _quoted(text: str | bytes) -> str:
    return quote(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text, safe="")


REQUESTS: dict[str, st.SearchStrategy[Any]] = {
    "method": st.sampled_from(["GET", "GET", "HEAD", "POST"]),
    "segments": st.lists(_SEGMENTS, max_size=4),
    "query": _PAIRS,
    "fields": _PAIRS,
    "multipart": st.booleans(),
    "headers": st.dictionaries(
        st.sampled_from(
            ["Accept-Language", "Accept-Encoding", "If-None-Match", "Cookie", "Range", "Expect", "User-Agent"]
        ),
        _HEADER,
        max_size=3,
    ),
}
"""One request, half of what it says known to the hub."""


def ask_anything(
    stage: Stage,
    method: str,
    segments: list[str | bytes],
    query: list[tuple[str, str]],
    fields: list[tuple[str, str]],
    multipart: bool,
    headers: dict[str, str],
) -> None:
    filled = [stage.notice if each == "{id}" else each for each in segments]
    path = "/" + "/".join(_quoted(each) for each in filled)
    if query:
        path += "?" + _encoded(query)
    body = None
    sent: dict[str, str | None] = {name: value.encode().decode("latin-1") for name, value in headers.items()}
    if method == "POST":
        body, kind = _encoded(fields).encode(), "application/x-www-form-urlencoded"
        if multipart:
            plain = [(_quoted(name), _quoted(value)) for name, value in fields]
            body, kind = encode_form(plain, [("picture", "p.jpg", b"\xff\xd8\xff\xe0 not a picture")])
        sent["Content-Type"] = kind
    answer = stage.stranger.send(method, path, body, sent)
    assert answer.status < 500, (method, path, answer.status)
    assert answer.headers["X-Content-Type-Options"] == "nosniff" or answer.status in (303, 304, 400, 417)
    assert "Server" not in answer.headers


@_QUIET
@given(**REQUESTS)
def test_whatever_is_asked_the_hub_never_fails(stage: Stage, **asked: Any) -> None:
    ask_anything(stage, **asked)


def test_and_has_logged_no_fault(stage: Stage) -> None:
    """Runs after the fuzzing above: its faults would stand in the log."""
    stage.assert_unmoved()


# --- what every answer has ------------------------------------------------------------------------


def test_every_page_has_the_headers_that_keep_others_out(stage: Stage) -> None:
    for method, pattern in stage.residents:
        for name in (None, "zzzzzzzzzz"):
            answer = stage.author.send("GET", stage.fill(pattern, name)) if method == "GET" else None
            if answer is None or answer.status == 303:
                continue
            headers = answer.headers
            assert headers["X-Content-Type-Options"] == "nosniff", pattern
            assert "Server" not in headers
            assert "Access-Control-Allow-Origin" not in headers
            assert "Set-Cookie" not in headers
            if headers["Content-Type"].startswith("text/html"):
                policy = headers["Content-Security-Policy"]
                assert POLICY in policy
                assert "frame-ancestors 'none'" in policy
                assert "'unsafe-inline'" not in policy
                assert headers["Referrer-Policy"] == "same-origin"
                assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|javascript:", answer.text), (
                    pattern
                )


def test_reading_sets_no_cookie_and_writing_one_that_script_cannot_read(stage: Stage) -> None:
    fresh = stage.hub.visitor()
    for path in ("/", f"/notices/{stage.notice}", "/notices/new", "/search?q=ladder", "/about", "/zzz"):
        assert "Set-Cookie" not in fresh.get(path).headers
    fields = {"kind": "give", "title": "Two chairs", "text": "Wooden.", "key": "cookie"}
    cookies = fresh.post("/notices", fields).headers.get_all("Set-Cookie", [])
    assert len(cookies) == 1
    attributes = {part.strip().partition("=")[0].lower() for part in cookies[0].split(";")[1:]}
    assert attributes == {"max-age", "path", "httponly", "samesite"}
    assert "SameSite=Lax" in cookies[0]
    assert re.match(r"device=[0-9a-f]{32};", cookies[0])
    assert stage.stranger.get("/?lang=cy").headers["Set-Cookie"].startswith("lang=cy; ")


def test_text_of_residents_stays_text(stage: Stage) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'><svg/onload=alert(1)>"
    links = (
        "[a](javascript:alert(1)) [b](data:text/html,x) ![c](http://evil.example/x.png) <http://evil.example>"
    )
    fields = {"kind": "news", "title": evil[:100], "text": f"{evil}\n\n{links}", "name": evil[:50],
              "contact": evil[:90], "key": "evil"}  # fmt: skip
    name = _id(stage.author.post("/notices", fields))
    stage.author.post(f"/notices/{name}/replies", {"text": f"{evil} {links}", "name": evil[:50]})
    for path in (
        "/",
        f"/notices/{name}",
        f"/notices/{name}/poster",
        f"/notices/{name}/edit",
        f"/notices/{name}/report",
        "/notices/print",
        "/screen",
        "/search?q=alert",
        "/notices.atom",
        f"/search?q={quote(evil)}",
        f"/notices/new?title={quote(evil)}",
        f"/reports?ref={quote(evil)}",
    ):
        page = stage.author.get(path).text
        assert "<script>alert" not in page, path
        assert not re.search(r"<(img|svg)[^>]*\son\w+=", page), path
        assert not re.search(r"(href|src)=\"?(javascript|data:text|http://evil)", page) or "rel=" in page, (
            path
        )
        assert 'src="http' not in page, path


# --- stopping -------------------------------------------------------------------------------------


def _half_a_form(port: int, title: str) -> tuple[bytes, bytes]:
    fields = {"kind": "news", "title": title, "text": "Slowly. " * 400, "key": title}
    body, kind = encode_form(fields, [])
    head = (
        f"POST /notices HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body[: len(body) // 2], body[len(body) // 2 :]


def test_a_hub_asked_to_stop_answers_the_request_it_is_in(tmp_path: Path) -> None:
    data = found_hub(tmp_path / "data")
    with running_hub(data) as hub, socket.create_connection(("127.0.0.1", hub.port), timeout=10) as pipe:
        first, rest = _half_a_form(hub.port, "Slow")
        pipe.sendall(first)
        time.sleep(0.3)
        asked = time.monotonic()
        hub.process.terminate()
        time.sleep(1.0)
        pipe.sendall(rest)
        answer = b""
        with contextlib.suppress(OSError):
            while piece := pipe.recv(65536):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 303 "), answer[:300]
        assert hub.process.wait(10) == 0
        assert time.monotonic() - asked < 5
    with running_hub(data) as hub:
        assert [item["title"] for item in hub.visitor().get("/notices.json").json["items"]] == ["Slow"]


def test_a_request_that_never_ends_does_not_keep_the_hub_from_stopping(tmp_path: Path) -> None:
    data = found_hub(tmp_path / "data")
    with running_hub(data) as hub, contextlib.ExitStack() as pipes:
        for number in range(20):
            pipe = pipes.enter_context(socket.create_connection(("127.0.0.1", hub.port), timeout=10))
            pipe.sendall(_half_a_form(hub.port, f"Endless {number}")[0])
        time.sleep(0.3)
        asked = time.monotonic()
        assert hub.stop() == 0
        assert time.monotonic() - asked < 5
        assert "Traceback" not in hub.log(), hub.log()[-2000:]
    with running_hub(data) as hub:
        assert not list((data / "tmp").iterdir())
        assert hub.visitor().get("/healthz").status == 200
