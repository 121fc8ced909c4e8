"""A real ``hub run`` in a process of its own, as residents' phones and caretakers' shells meet it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

HOST = "tanyard-road-hub.local"
"""What the hub's own name becomes; the browser resolves it to this machine."""
_START_S, _STOP_S = 20.0, 10.0
_COMMAND_S = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; ``body`` as it came."""

    status: int
    headers: Message
    body: bytes


@dataclass(frozen=True, slots=True)
class HubProcess:
    """A hub that runs: its data folder, and the port of its pages on 127.0.0.1."""

    data: Path
    port: int

    def at(self, path: str) -> str:
        """The address of a page."""
        return f"http://{HOST}:{self.port}{path}"

    async def answer(self, path: str, **headers: str) -> Answer:
        """What a GET of ``path`` is answered with, without a browser and following nothing."""
        return await asyncio.to_thread(self._ask, "GET", path, None, headers)

    async def send(self, path: str, fields: Mapping[str, str], **headers: str) -> Answer:
        """What a form is answered with that a page of the hub sends to ``path``."""
        headers = {"Origin": self.at(""), "Content-Type": "application/x-www-form-urlencoded", **headers}
        return await asyncio.to_thread(self._ask, "POST", path, urlencode(fields), headers)

    async def put_up(self, **fields: str) -> str:
        """Put up a notice with these fields from a phone of its own; the path of its page."""
        answer = await self.send("/notices", {"kind": "news", "title": "A title", "text": "Words.", **fields})
        assert answer.status == 303, answer.body.decode()
        return answer.headers["Location"].partition("?")[0]

    def _ask(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            host = {"Host": f"{HOST}:{self.port}"}
            connection.request(method, quote(path, safe="/?=&%#"), body, {**host, **named})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    async def text(self, path: str) -> str:
        """The document at ``path``, whatever its status."""
        return (await self.answer(path)).body.decode()

    async def json(self, path: str) -> Any:
        """The JSON at ``path``."""
        return json.loads((await self.answer(path)).body)

    async def path_of(self, public_id: str) -> str:
        """Where the short address of a notice leads."""
        return (await self.answer(f"/n/{public_id}")).headers["Location"]

    async def command(self, *words: str) -> str:
        """What ``hub WORDS --data …`` prints; fails unless it ends well."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hub", *words, "--data", str(self.data),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(_COMMAND_S):
            said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()
        return said.decode()

    async def told(self, *words: str) -> Any:
        """What ``hub WORDS --json`` prints, read."""
        return json.loads(await self.command(*words, "--json"))

    @contextlib.asynccontextmanager
    async def setting(self, key: str, value: str) -> AsyncIterator[None]:
        """Have a live setting changed for a while, by the caretakers' command."""
        [line] = [each for each in await self.told("settings", "show") if each["key"] == key]
        await self.command("settings", "set", key, value)
        try:
            yield
        finally:
            await self.command("settings", "set", key, line["value"])


@contextlib.asynccontextmanager
async def running_hub(data: Path) -> AsyncIterator[HubProcess]:
    """Start a hub on ``data`` (made if there is none) and end it with SIGTERM.

    Fails if it does not end cleanly, or if a page failed while it ran.
    """
    log = data.with_name(f"{data.name}.log")
    with await asyncio.to_thread(log.open, "wb") as said:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "hub", "run", "--data", str(data), "--port", "0",
            "--listen", "127.0.0.1", "--name", "Tanyard Road Hub",
            stdout=said, stderr=said,
        )  # fmt: skip
    try:
        yield HubProcess(data, await _port(process, log))
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    text = await asyncio.to_thread(log.read_text, "utf-8")
    assert process.returncode == 0, text
    assert "Traceback" not in text, text


async def _port(process: asyncio.subprocess.Process, log: Path) -> int:
    """The port in what the hub prints when it is ready."""
    async with asyncio.timeout(_START_S):
        while True:
            text = await asyncio.to_thread(log.read_text, "utf-8")
            if "Stop it with Ctrl+C." in text and (found := re.search(r"http://127\.0\.0\.1:(\d+)/", text)):
                return int(found[1])
            assert process.returncode is None, text
            await asyncio.sleep(0.05)
