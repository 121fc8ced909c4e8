"""A street in network namespaces: hubs with an Ethernet of their own, that nobody else can hear."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import needs

PROGRAM = Path(__file__).with_name("street.py")
ROOT = Path(__file__).parents[3]

Fact = dict[str, Any]


class Program:
    """A process in a house of the street, and what it has said so far."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        self._said: queue.SimpleQueue[Fact | None] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self.facts: list[Fact] = []

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.put(json.loads(line))
        self._said.put(None)

    def hears(self, wanted: Callable[[Fact], object], seconds: float = 8.0) -> Fact:
        """The first fact not looked at before for which ``wanted`` is true; fails after ``seconds``."""
        deadline = time.monotonic() + seconds
        while (fact := self.hears_within(deadline - time.monotonic())) is not None:
            if wanted(fact):
                return fact
        pytest.fail(f"not heard within {seconds} s; what was heard: {self.facts}")

    def hears_within(self, seconds: float) -> Fact | None:
        """The next fact not looked at before, or None."""
        try:
            fact = self._said.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None
        if fact is not None:
            self.facts.append(fact)
        return fact

    def tell(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def end(self, number: int = signal.SIGTERM) -> float:
        """Send a signal and wait for the end; seconds it took."""
        began = time.monotonic()
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        took = time.monotonic() - began
        self._listener.join(5)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return took


class Street:
    """Houses (network namespaces) on one bridge, each with an interface ``eth0``."""

    def __init__(self) -> None:
        self._mark = f"hub{os.getpid()}"
        self._spaces: list[str] = []
        self._programs: list[Program] = []
        self._ports: dict[str, str] = {}

    def lay_road(self) -> None:
        self._road = self._space("road")
        self._ip("-n", self._road, "link", "add", "bridge", "type", "bridge")
        self._ip("-n", self._road, "link", "set", "bridge", "up")

    def house(self, address: str | None) -> str:
        """A new house at ``address``/24, or one whose cable is in but that has no address yet."""
        space = self._space(f"h{len(self._spaces)}")
        port = self._ports[space] = f"port{len(self._spaces)}"
        self._ip("link", "add", port, "netns", self._road, "type", "veth", "peer", "eth0", "netns", space)
        self._ip("-n", self._road, "link", "set", port, "master", "bridge", "up")
        self._ip("-n", space, "link", "set", "lo", "up")
        if address is None:
            # Without this its IPv6 link-local address would be a network already.
            self._ip("-n", space, "link", "set", "eth0", "addrgenmode", "none")
        self._ip("-n", space, "link", "set", "eth0", "up")
        if address is not None:
            self.move_in(space, address)
        return space

    def move_in(self, space: str, address: str) -> None:
        self._ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")

    def move_out(self, space: str, address: str) -> None:
        self._ip("-n", space, "addr", "del", f"{address}/24", "dev", "eth0")

    def use_link_local_only(self, space: str) -> None:
        """An IPv6 link-local address and nothing else, as where nobody gives out addresses."""
        self._ip("-n", space, "addr", "flush", "dev", "eth0")
        self._ip("-n", space, "link", "set", "eth0", "down")
        self._ip("-n", space, "link", "set", "eth0", "addrgenmode", "eui64", "up")

    def isolate(self, space: str, isolated: bool) -> None:
        """As Wi-Fi with client isolation does: isolated houses hear nothing of each other."""
        state = "on" if isolated else "off"
        port = self._ports[space]
        self._ip("-n", self._road, "link", "set", port, "type", "bridge_slave", "isolated", state)

    def count(self) -> Program:
        """Count the mDNS that enters the road until it is ended."""
        counter = self.run(self._road, "count")
        counter.hears(lambda fact: fact.get("started"))
        return counter

    def block(self, space: str) -> None:
        """Nothing passes between this house and the street, though its cable is in."""
        self._ip("-n", self._road, "link", "set", self._ports[space], "nomaster")

    def unblock(self, space: str) -> None:
        self._ip("-n", self._road, "link", "set", self._ports[space], "master", "bridge")

    def run(self, space: str, *arguments: str) -> Program:
        program = Program(["ip", "netns", "exec", space, sys.executable, str(PROGRAM), *arguments])
        self._programs.append(program)
        return program

    def resolve(self, space: str, name: str) -> list[str]:
        """What a newcomer in ``space`` is told for ``name``."""
        return sorted(self.run(space, "resolve", name).hears(lambda fact: "addresses" in fact)["addresses"])

    def close(self) -> None:
        for program in self._programs:
            program.end(signal.SIGKILL)
        for space in reversed(self._spaces):
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True, timeout=10)

    def _space(self, name: str) -> str:
        space = f"{self._mark}-{name}"
        self._ip("netns", "add", space)
        self._spaces.append(space)
        return space

    def _ip(self, *arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=10)


@pytest.fixture
def street() -> Iterator[Street]:
    """An empty street. Needs root, iproute2, and a kernel that lets namespaces be made."""
    needs.root("build network namespaces")
    needs.program("ip", "iproute2")
    built = Street()
    try:
        try:
            built.lay_road()
        except subprocess.CalledProcessError as refused:
            needs.cannot_run(f"no network namespaces here: {refused.stderr.strip()}")
        yield built
    finally:
        built.close()
