"""What a hub costs while nobody comes: CPU, wake-ups and writes in a minute, announced and not."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.card import inserted
from tests.bench.figures import Figure
from tests.bench.processes import Hub
from tests.bench.street import Ground, copied

SETTLE_S, SECONDS = 20, 120
_QUIET = "[discovery]\nannounce = false\n"


def run(ground: Ground) -> list[Figure]:
    """Two minutes each, twenty seconds after the start."""
    figures = _watched(ground, "announcing nothing", _QUIET, "127.0.0.1", [])
    with _network() as before:
        if before:
            figures += _watched(ground, "announcing itself", "", "", before)
    return figures


def _watched(ground: Ground, what: str, settings: str, listen: str, before: list[str]) -> list[Figure]:
    with inserted(ground.work) as card:
        data = copied(ground.street(1000), "idle")
        home = card.folder / "idle"
        data.rename(home) if card.folder == ground.work else subprocess.run(
            ["cp", "-r", data, home], check=True
        )
        with Hub(
            home, settings, before, arguments={"--listen": listen} if listen else {"--listen": "0.0.0.0"}
        ) as hub:
            time.sleep(SETTLE_S)
            written, cpu_s, wakeups = card.written(), hub.cpu_s(), hub.wakeups()
            time.sleep(SECONDS)
            cpu_ms = (hub.cpu_s() - cpu_s) * 1e3
            wakeups = hub.wakeups() - wakeups
            written = card.written() - written
    minutes = SECONDS / 60
    return [
        Figure(
            "idle",
            f"{what}: CPU a minute",
            cpu_ms / minutes,
            "ms",
            "<=60",
            f"{wakeups / SECONDS:.2f} wake-ups/s",
        ),
        Figure(
            "idle", f"{what}: bytes written to the device a minute", written / minutes, "B", "<=0", card.note
        ),
    ]


@contextmanager
def _network() -> Iterator[list[str]]:
    """A network of its own with two addresses on one cable, as the words before a command; none without root."""
    if os.geteuid() != 0:
        yield []
        return
    name = f"hub-bench-{os.getpid()}"
    inside = ["ip", "netns", "exec", name]
    steps = [
        ["ip", "netns", "add", name],
        [*inside, "ip", "link", "set", "lo", "up"],
        [*inside, "ip", "link", "add", "house0", "type", "veth", "peer", "name", "house1"],
        [*inside, "ip", "addr", "add", "192.168.77.1/24", "dev", "house0"],
        [*inside, "ip", "link", "set", "house0", "up"],
        [*inside, "ip", "link", "set", "house1", "up"],
    ]
    try:
        for step in steps:
            subprocess.run(
                step, check=True, env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
            )
        yield [*inside]
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False)
