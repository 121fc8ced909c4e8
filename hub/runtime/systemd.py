"""Telling systemd how the program is (sd_notify(3)), where it was started by systemd."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Send ``state`` (READY=1, WATCHDOG=1, STOPPING=1, …); does nothing outside systemd."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.setblocking(False)
        channel.sendto(state.encode(), address)


def watchdog_seconds() -> float | None:
    """How often systemd wants to hear from us, or None."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1_000_000 if microseconds.isdecimal() else None
