"""The caretakers' socket: its permissions are the login, and the kernel names the caller."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hub.api.client import Client, HubAway, ProblemAnswer
from hub.api.schema import Decision
from hub.api.socket import AdminSocket
from hub.app import Hub
from tests import needs
from tests.integration.conftest import RULE, OpenHub, Street, admin_table, in_thread

SOCKET = Path("run", "admin.sock")
AS_NOBODY = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
client = socket.socket(socket.AF_UNIX)
try:
    client.connect(sys.argv[1])
except PermissionError:
    sys.exit("permission denied")
client.sendall(b"GET /status HTTP/1.1\\r\\nHost: hub\\r\\nConnection: close\\r\\n\\r\\n")
answer = b""
while piece := client.recv(65536):
    answer += piece
print(answer.decode())
"""


def client(street: Street) -> Client:
    return Client(street.data / SOCKET)


async def test_the_socket_is_for_its_owner_and_group_only(listening: Street) -> None:
    mode = (listening.data / SOCKET).stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660


async def test_the_socket_is_gone_when_the_hub_has_stopped(open_street: OpenHub, data_folder: Path) -> None:
    async with open_street() as street:
        served = AdminSocket(data_folder / SOCKET, admin_table(street.hub))
        await served.start()
        assert (data_folder / SOCKET).exists()
        await served.stop()
        assert not (data_folder / SOCKET).exists()
        with pytest.raises(HubAway):
            await in_thread(client(street).status)


async def test_a_socket_that_a_dead_hub_left_is_taken_over(street: Street) -> None:
    path = street.data / SOCKET
    path.parent.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    served = AdminSocket(path, admin_table(street.hub))
    await served.start()
    assert (await in_thread(client(street).status)).state == "OK"
    await served.stop()


async def test_a_file_that_is_no_socket_is_left_alone(street: Street) -> None:
    path = street.data / SOCKET
    path.parent.mkdir(exist_ok=True)
    path.write_text("my notes")
    served = AdminSocket(path, admin_table(street.hub))
    with pytest.raises(OSError, match="in use"):
        await served.start()
    await served.stop()
    assert path.read_text() == "my notes"


async def nobody_asks(path: Path) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", AS_NOBODY, str(path)],
        capture_output=True,
        text=True,
        timeout=8,
    )


def open_the_way(street: Street) -> Path:
    """Let anybody reach the socket file, as a careless installation might."""
    path = street.data / SOCKET
    for folder in path.parents:
        if folder.owner() == "root" and len(folder.parts) > 2:
            folder.chmod(0o755)
    return path


async def test_somebody_else_cannot_connect(listening: Street) -> None:
    needs.root("act as another user")
    answer = await nobody_asks(await in_thread(lambda: open_the_way(listening)))
    assert "permission denied" in answer.stderr
    assert answer.stdout == ""


async def test_somebody_else_who_can_connect_is_refused_all_the_same(listening: Street) -> None:
    needs.root("act as another user")
    path = await in_thread(lambda: open_the_way(listening))
    path.chmod(0o666)
    answer = await nobody_asks(path)
    assert answer.stdout.startswith("HTTP/1.1 403")
    assert "not-for-you" in answer.stdout


async def test_the_group_of_the_socket_is_let_in_and_named_in_the_private_log(listening: Street) -> None:
    needs.root("act as another user")
    path = await in_thread(lambda: open_the_way(listening))
    os.chown(path, 0, 65534)
    answer = await nobody_asks(path)
    assert answer.stdout.startswith("HTTP/1.1 200")


async def test_who_asked_stands_in_the_private_log(listening: Street) -> None:
    name = (await listening.person("ann").puts_up()).public_id
    await in_thread(lambda: client(listening).act(name, "hide", Decision(rule=RULE)))
    import pwd

    [(actor,)] = await listening.rows("SELECT actor FROM audit")
    assert actor == pwd.getpwuid(os.getuid()).pw_name


def ask(street: Street, method: str, path: str, body: bytes | None = None) -> tuple[int, str, Any]:
    """A request of one's own making over the socket. Blocking."""
    connection = http.client.HTTPConnection("hub", timeout=5)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(5)
    connection.sock.connect(str(street.data / SOCKET))
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.headers.get_content_type(), json.loads(answer.read())
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nowhere", None, 404, "not-found"),
        ("DELETE", "/status", None, 404, "not-found"),
        ("POST", "/items/0000000000/hide", b'{"rule": "1"}', 404, "not-found"),
        ("POST", "/items/0000000000/hide", b"{", 422, "bad-order"),
        ("POST", "/items/0000000000/hide", b"[]", 422, "bad-order"),
        ("POST", "/items/0000000000/hide", b'{"rules": "1"}', 422, "bad-order"),
        ("POST", "/items/0000000000/hide", b'{"rule": 1}', 422, "bad-order"),
        ("POST", "/items/0000000000/hide", b'{"rule": "' + b"x" * 70_000 + b'"}', 422, "bad-order"),
        ("POST", "/items/0000000000/hide", b"\xff\xfe", 422, "bad-order"),
        ("POST", "/items/0000000000/hide", b"{}", 422, "name-the-rule"),
        ("GET", "/notices?where=cellar", None, 422, "bad-choice"),
        ("PUT", "/settings/web.port", b'{"value": "1"}', 409, "not-while-running"),
        ("PUT", "/settings/nonsense", b'{"value": "1"}', 422, "settings-error"),
        ("POST", "/reports/none/decide", b'{"outcome": "burn"}', 422, "bad-choice"),
        ("POST", "/reports/none/decide", b'{"outcome": "hide", "rule": "1"}', 404, "not-found"),
        ("POST", "/devices/none/pause", b'{"rule": "1"}', 404, "not-found"),
        ("POST", "/devices/none/pause", b'{"rule": "1", "until_ms": 99999999999999999999}', 422, "bad-order"),
        ("POST", "/devices/none/pause", b'{"rule": "1", "until_ms": -5}', 422, "bad-order"),
        ("GET", "/ledger?before=99999999999999999999", None, 200, ""),
        ("GET", "/items/%2e%2e", None, 404, "not-found"),
    ],
)
async def test_what_makes_no_sense_is_refused_as_a_problem(
    listening: Street, method: str, path: str, body: bytes | None, status: int, code: str
) -> None:
    got, media, answer = await in_thread(lambda: ask(listening, method, path, body))
    assert got == status
    if code:
        assert (media, answer["code"], answer["status"]) == ("application/problem+json", code, status)
        assert answer["detail"]


async def test_a_socket_whose_path_is_too_long_is_refused_in_words(tmp_path: Path) -> None:
    data = tmp_path / ("x" * 100)
    hub = await Hub.open(data, flags={"web.port": "0", "web.listen": "127.0.0.1"})
    try:
        with pytest.raises(OSError, match="too long"):
            await AdminSocket(data / SOCKET, admin_table(hub)).start()
    finally:
        await hub.close()


async def test_the_client_tells_a_problem_from_a_hub_that_is_away(listening: Street, tmp_path: Path) -> None:
    with pytest.raises(ProblemAnswer) as refused:
        await in_thread(lambda: client(listening).item("0000000000"))
    assert refused.value.problem.code == "not-found"
    with pytest.raises(HubAway):
        await in_thread(Client(tmp_path / "none.sock").status)
