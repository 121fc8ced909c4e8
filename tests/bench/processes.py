"""Hubs and other servers as processes of their own, and what Linux counts for them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hub.api.client import Client

_READY_S = 60.0
RAISED = """\
[web]
connections = 4096
heads_per_address = 4096
[limits]
per_device = 1000000000
per_address = 1000000000
whole_hub = 1000000000
new_devices = 1000000000
[storage]
reserve_percent = 0
reserve_megabytes = 0
[discovery]
announce = false
"""
"""Settings of a hub that is measured: nothing is refused, and nothing goes to the network."""


class Memory(NamedTuple):
    """Megabytes (10^6 bytes): resident, and with shared pages divided by those who share them."""

    rss: float
    pss: float


class Process:
    """A child process that says a line with ``:port/`` or ``port=`` when it is ready."""

    def __init__(
        self, arguments: Sequence[str], log: Path, before: Sequence[str] = (), cgroup: Path | None = None
    ) -> None:
        self.log = log
        self._output = log.open("wb")
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self.began = time.perf_counter()
        self._child = subprocess.Popen(
            [*before, sys.executable, *arguments],
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={**environ, "PYTHONUNBUFFERED": "1"},
            preexec_fn=(lambda: (cgroup / "cgroup.procs").write_text(str(os.getpid()))) if cgroup else None,
        )
        self.pid = self._child.pid
        self.port = 0

    def ready(self) -> None:
        """Wait for the line that names the port."""
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline and self._child.poll() is None:
            found = re.search(r":(\d+)/|^port=(\d+)$", self.log.read_text("utf-8"), re.MULTILINE)
            if found:
                self.port = int(found[1] or found[2])
                return
            time.sleep(0.005)
        raise RuntimeError(f"did not start:\n{self.log.read_text('utf-8')}")

    def cpu_s(self) -> float:
        """CPU seconds so far, of all its threads, to the nanosecond."""
        return time.clock_gettime(~self.pid << 3 | 2)  # clock_getcpuclockid(3)

    def memory(self) -> Memory:
        """What it holds now."""
        text = Path(f"/proc/{self.pid}/smaps_rollup").read_text()
        found = {name: int(value) for name, value in re.findall(r"^(Rss|Pss):\s+(\d+)", text, re.MULTILINE)}
        return Memory(found["Rss"] * 1024 / 1e6, found["Pss"] * 1024 / 1e6)

    def peak_mb(self) -> float:
        """The most it ever had resident."""
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{self.pid}/status").read_text())
        assert found
        return int(found[1]) * 1024 / 1e6

    def wakeups(self) -> int:
        """Voluntary context switches of all its threads so far."""
        count = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            found = re.search(
                r"^voluntary_ctxt_switches:\s+(\d+)", (task / "status").read_text(), re.MULTILINE
            )
            count += int(found[1]) if found else 0
        return count

    def stop(self) -> None:
        """End it in order."""
        self._child.send_signal(signal.SIGTERM)
        self._child.wait(30)
        self._output.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child.returncode is None:
            self.stop()


class Hub(Process):
    """`hub run` on ``data``."""

    def __init__(
        self,
        data: Path,
        settings: str = RAISED,
        before: Sequence[str] = (),
        cgroup: Path | None = None,
        arguments: Mapping[str, str] | None = None,
    ) -> None:
        data.mkdir(parents=True, exist_ok=True)
        (data / "hub.toml").write_text(settings, "utf-8")
        options = {"--listen": "127.0.0.1", "--port": "0", **(arguments or {})}
        more = [part for option in options.items() for part in option]
        super().__init__(
            ["-m", "hub", "run", "--data", str(data), *more], data.with_suffix(".log"), before, cgroup
        )
        self.desk = Client(data / "run" / "admin.sock")
        """The caretakers' socket."""

    def __enter__(self) -> Hub:
        self.ready()
        return self
