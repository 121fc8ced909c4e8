"""Telling systemd how the program is (sd_notify(3)), where it was started by systemd."""

from __future__ import annotations

import logging
import os
import socket

_log = logging.getLogger(__name__)


def notify(state: str) -> None:
    """Send ``state`` (READY=1, WATCHDOG=1, STOPPING=1, …); does nothing outside systemd.

    Never raises and never waits: a hub that cannot be heard goes on, and systemd does what it must.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.setblocking(False)
        try:
            channel.sendto(state.encode(), address)
        except OSError:
            _log.warning("systemd was not told")


def watchdog_seconds() -> float | None:
    """How often systemd wants to hear from us, or None (sd_watchdog_enabled(3))."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 1_000_000 or None if microseconds.isdecimal() else None
