"""What systemd hears from the hub, over a real socket."""

import os
import socket
from pathlib import Path

import pytest

from hub.runtime import systemd
from hub.runtime.system_clock import SystemClock


@pytest.mark.parametrize("abstract", [False, True])
async def test_systemd_hears_what_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool
) -> None:
    name = f"@hub-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(name.replace("@", "\0", 1) if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        systemd.notify("READY=1")
        systemd.notify("STATUS=80 notices")
        assert ear.recv(100) == b"READY=1"
        assert ear.recv(100) == b"STATUS=80 notices"


@pytest.mark.parametrize("name", ["", "/nowhere/notify", "@nobody-listens-here"])
async def test_a_hub_that_cannot_be_heard_goes_on(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    systemd.notify("READY=1")


@pytest.mark.parametrize(
    ("microseconds", "process", "seconds"),
    [
        ("30000000", None, 30.0),
        ("30000000", "me", 30.0),
        ("30000000", "1", None),
        ("0", None, None),
        ("", None, None),
        ("soon", None, None),
    ],
)
def test_the_watchdog_is_fed_only_where_systemd_asked_this_process(
    monkeypatch: pytest.MonkeyPatch, microseconds: str, process: str | None, seconds: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    if process is not None:
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if process == "me" else process)
    assert systemd.watchdog_seconds() == seconds


def test_the_clocks_tell_milliseconds_and_seconds() -> None:
    clock = SystemClock()
    assert clock.now_ms() > 1_700_000_000_000
    first = clock.monotonic()
    assert clock.monotonic() >= first
