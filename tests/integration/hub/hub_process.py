"""A real ``hub run`` in a data folder, on a free port and ended by its process id, and its visitors."""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parents[3]
STARTS_WITHIN_S = 30.0
STOPS_WITHIN_S = 10.0
IDLE_S = 20.0
GENEROUS = """
[limits]
per_device = 1000000
per_address = 1000000
whole_hub = 1000000
new_devices = 1000000
phrase_tries = 1000000

[storage]
reserve_percent = 0
reserve_megabytes = 0

[neighbours]
port = 0
pairing_port = 0
"""
"""Settings for tests that post a lot: no limit is reached, pictures need no free gigabyte, and many hubs
listen for neighbours on one machine."""
FORM = "application/x-www-form-urlencoded"

Fields = Mapping[str, str] | Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the hub said."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode()

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def location(self) -> str:
        """Where a redirect leads."""
        return self.headers["Location"] or ""


class Visitor:
    """One browser: keeps its connection and its device cookie, and sends forms as browsers do."""

    def __init__(self, port: int, device: str | None = None) -> None:
        self.port = port
        self.device = device
        self._connection: http.client.HTTPConnection | None = None
        self._used = 0.0

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str | None] | None = None,
    ) -> Answer:
        """One request; ``None`` leaves a header out. OSError or HTTPException if there is no answer."""
        given: dict[str, str | None] = {"Host": f"127.0.0.1:{self.port}"}
        if self.device:
            given["Cookie"] = f"device={self.device}"
        if method not in ("GET", "HEAD"):
            given["Origin"] = f"http://127.0.0.1:{self.port}"
        given.update(headers or {})
        if time.monotonic() - self._used > IDLE_S:  # the hub has closed it
            self.close()
        self._used = time.monotonic()
        connection = self._connection
        if connection is None:
            connection = self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in given.items():
                if value is not None:
                    connection.putheader(name, value)
            if body is not None or method == "POST":
                connection.putheader("Content-Length", str(len(body or b"")))
            connection.endheaders(body)
            response = connection.getresponse()
            answer = Answer(response.status, response.headers, response.read())
        except BaseException:
            self.close()
            raise
        if answer.headers["Connection"] == "close":
            self.close()
        for cookie in answer.headers.get_all("Set-Cookie", []):
            if found := re.match(r"device=(\w+)", cookie):
                self.device = found[1]
        return answer

    def get(self, path: str, headers: Mapping[str, str | None] | None = None) -> Answer:
        """GET ``path``."""
        return self.send("GET", path, headers=headers)

    def post(
        self,
        path: str,
        fields: Fields = (),
        files: Iterable[tuple[str, str, bytes]] = (),
        headers: Mapping[str, str | None] | None = None,
    ) -> Answer:
        """Send a form; ``files`` are field, file name and content, and make it a multipart one."""
        body, kind = encode_form(fields, list(files))
        return self.send("POST", path, body, {"Content-Type": kind, **(headers or {})})

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def encode_form(fields: Fields, files: Sequence[tuple[str, str, bytes]]) -> tuple[bytes, str]:
    """The body of a form and its content type, multipart if there are files."""
    pairs = list(fields.items()) if isinstance(fields, Mapping) else list(fields)
    if not files:
        return urlencode(pairs).encode(), FORM
    boundary = secrets.token_hex(12)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in pairs
    ]
    parts += [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{file}"\r\n'
        f"Content-Type: application/octet-stream\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, file, content in files
    ]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"


@dataclass
class HubProcess:
    """A hub that runs. ``output`` and ``errors`` are the files its two streams go to."""

    process: subprocess.Popen[bytes]
    data: Path
    port: int
    output: Path
    errors: Path
    _visitors: list[Visitor] = field(default_factory=list)

    def visitor(self, device: str | None = None) -> Visitor:
        """A new browser; it is closed with the hub."""
        visitor = Visitor(self.port, device)
        self._visitors.append(visitor)
        return visitor

    def kill(self) -> None:
        """End it as the kernel ends what runs out of memory: at once, wherever it is."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(STOPS_WITHIN_S)

    def stop(self) -> int:
        """Ask it to end and wait; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOPS_WITHIN_S)

    def log(self) -> str:
        """What it has said on standard error so far."""
        return self.errors.read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        """Close the visitors and make sure that the process is gone."""
        for visitor in self._visitors:
            visitor.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(STOPS_WITHIN_S)


def hub_command(data: Path, *options: str) -> list[str]:
    """``hub run`` on ``data`` and a free port of the loopback."""
    where = ["--data", str(data), "--port", "0", "--listen", "127.0.0.1"]
    return [sys.executable, "-m", "hub", "run", *where, *options]


def found_hub(data: Path, settings: str = GENEROUS) -> Path:
    """Make ``data`` the folder of a hub with ``settings`` that has not been started yet."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    (data / "hub.toml").write_text(settings, encoding="utf-8")
    return data


def port_in(output: Path) -> int | None:
    """The port a starting hub has printed, if it has."""
    told = re.search(r"http://127\.0\.0\.1:(\d+)/", output.read_text(encoding="utf-8"))
    return int(told[1]) if told else None


def start_hub(data: Path, command: Sequence[str] | None = None) -> HubProcess:
    """Start a hub and wait until it answers. AssertionError with what it said if it does not start."""
    output, errors = data.with_name(f"{data.name}.out"), data.with_name(f"{data.name}.err")
    with output.open("wb") as out, errors.open("ab") as err:
        process = subprocess.Popen(
            command or hub_command(data), stdout=out, stderr=err, stdin=subprocess.DEVNULL, cwd=ROOT
        )
    deadline = time.monotonic() + STARTS_WITHIN_S
    while (port := port_in(output)) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise AssertionError(f"the hub did not start: {errors.read_text(errors='replace')[-3000:]}")
        time.sleep(0.01)
    return HubProcess(process, data, port, output, errors)


@contextmanager
def running_hub(data: Path, command: Sequence[str] | None = None) -> Iterator[HubProcess]:
    """A hub for the block; afterwards it is gone, whatever happened."""
    hub = start_hub(data, command)
    try:
        yield hub
    finally:
        hub.close()


def hub_says(data: Path, *words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run another command of the hub on ``data``: its exit code and what it printed."""
    return subprocess.run(
        [sys.executable, "-m", "hub", *words, "--data", str(data)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
