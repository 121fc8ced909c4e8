"""This machine's addresses, and word of it when they change."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Self

import ifaddr

from hub.domain.naming import LocalAddress, printed_addresses

TOLD_POLL_S = 60.0
"""Seconds between looks where the kernel tells of changes: only for what it might have dropped."""
UNTOLD_POLL_S = 5.0
"""Seconds between looks where nobody tells."""

_ADDRESS_GROUPS = 0x10 | 0x100
"""RTMGRP_IPV4_IFADDR and RTMGRP_IPV6_IFADDR of <linux/rtnetlink.h>. Link events are left out: a
Wi-Fi driver sends one at every scan, and an address appears once a link can be used."""


async def interface_addresses() -> tuple[LocalAddress, ...]:
    """Every address of every interface, loopback included, in the system's order."""
    return await asyncio.to_thread(_read)


async def local_addresses() -> list[str]:
    """The addresses to print for people, best first; empty without a network."""
    return list(printed_addresses(await interface_addresses()))


def _read() -> tuple[LocalAddress, ...]:
    return tuple(
        LocalAddress(adapter.name, ip.ip if isinstance(ip.ip, str) else ip.ip[0], ip.network_prefix)
        for adapter in ifaddr.get_adapters()
        for ip in adapter.ips
    )


class AddressWatch:
    """Calls ``notify`` in the event loop whenever the kernel reports a change of addresses.

    A context manager, entered in the loop. Look again after ``poll_s`` seconds in any case: outside
    Linux, or where a sandbox forbids netlink, ``notify`` is never called and ``poll_s`` is short.
    """

    def __init__(self, notify: Callable[[], None]) -> None:
        self._notify = notify
        self._socket: socket.socket | None = None

    @property
    def poll_s(self) -> float:
        return UNTOLD_POLL_S if self._socket is None else TOLD_POLL_S

    def __enter__(self) -> Self:
        self._socket = _open_netlink()
        if self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket, self._heard)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _heard(self) -> None:
        if self._socket is None:
            return
        try:
            while self._socket.recv(65536):
                pass
        except BlockingIOError:
            pass
        except OSError:  # ENOBUFS: events were dropped, so there were some
            pass
        self._notify()


def _open_netlink() -> socket.socket | None:
    if sys.platform != "linux":
        return None
    try:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        opened = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
    except OSError:
        return None
    try:
        opened.bind((0, _ADDRESS_GROUPS))
    except OSError:
        opened.close()
        return None
    return opened
