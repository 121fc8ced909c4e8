"""The admin API on a Unix socket: its permissions are the login, the kernel names the caller."""

from __future__ import annotations

import asyncio
import logging
import os
import pwd
import socket
import stat
import struct
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from hub.api.admin import AdminEndpoint, Order
from hub.api.problems import problem
from hub.api.schema import CollectionIn, Decision, PairingIn, StickIn
from hub.domain.errors import HubError, NotFound, Refused
from hub.runtime.content import Content
from hub.runtime.routing import Match, Route, Router
from hub.words import N_

_log = logging.getLogger(__name__)

MAX_BODY = 64 * 1024
_Shape = TypeVar("_Shape")


class BadOrder(Refused):
    """A body that is not what the endpoint takes."""

    code = "bad-order"
    status = 422
    template = N_("The hub did not understand the order: {reason}. Nothing was changed.")


class NotForYou(Refused):
    """The caller is neither root, nor the hub's own user, nor in the socket's group."""

    code = "not-for-you"
    status = 403
    template = N_("Only the people who look after the hub may use this socket. Nothing was changed.")


class AdminSocket:
    """Serves ``endpoints`` at ``path``, mode 0660: the owner, its group and root may connect."""

    def __init__(self, path: Path, endpoints: list[AdminEndpoint]) -> None:
        self._path = path
        self._router = Router([Route(item.method, item.path, item) for item in endpoints])
        self._runner: web.ServerRunner | None = None
        self._listens = False

    async def start(self) -> None:
        """Listen. A stale socket of an earlier run is removed; anything else at that path is left alone."""
        await asyncio.to_thread(self._clear)
        server = web.Server(self._handle)
        self._runner = web.ServerRunner(server, handle_signals=False)
        await self._runner.setup()
        before = os.umask(0o117)
        try:
            await web.UnixSite(self._runner, self._path).start()
            self._listens = True
        finally:
            os.umask(before)

    async def stop(self) -> None:
        """Finish the running call, close, and remove the socket."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._listens:
            self._listens = False
            with suppress(OSError):  # on a card that is read-only by now; the next start removes it
                await asyncio.to_thread(self._path.unlink, missing_ok=True)

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        try:
            content = await self._answer(request)
        except HubError as error:
            content = problem(error, str(error))
        except Exception:
            _log.exception("admin call failed", extra={"path": request.path})
            content = problem(HubError(), str(HubError()))
        return web.Response(body=content.body, status=content.status, headers={"Content-Type": content.type})

    async def _answer(self, request: web.BaseRequest) -> Content:
        actor = await asyncio.to_thread(self._actor, request)  # looks at files: the socket, the user list
        match = self._router.find(request.method, request.path)
        if not isinstance(match, Match):
            raise NotFound
        order = Order(actor, match.names, dict(request.query))
        if match.handler.raw:
            stream = request.content.iter_any()
            order = replace(order, stream=stream, length=request.content_length)
        elif match.handler.body is Decision:
            order = replace(order, body=await _body(request, Decision))
        elif match.handler.body is CollectionIn:
            order = replace(order, wanted=await _body(request, CollectionIn))
        elif match.handler.body is PairingIn:
            order = replace(order, pairing=await _body(request, PairingIn))
        elif match.handler.body is StickIn:
            order = replace(order, stick=await _body(request, StickIn))
        answer: Any = await match.handler.call(order)
        return Content(msgspec.json.encode(answer), "application/json")

    def _actor(self, request: web.BaseRequest) -> str:
        """The local user who connected (SO_PEERCRED); raises `NotForYou`."""
        transport = request.transport
        peer = transport.get_extra_info("socket") if transport else None
        if peer is None:
            raise NotForYou
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, uid, gid = struct.unpack("3i", credentials)
        info = self._path.stat()
        groups = {gid, *_groups(uid)}
        if uid not in (0, os.getuid(), info.st_uid) and info.st_gid not in groups:
            raise NotForYou
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            return f"user {uid}"

    def _clear(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            mode = self._path.lstat().st_mode
        except FileNotFoundError:
            return
        if stat.S_ISSOCK(mode):
            self._path.unlink()


async def _body(request: web.BaseRequest, shape: type[_Shape]) -> _Shape:
    data = await request.content.read(MAX_BODY + 1)
    while len(data) <= MAX_BODY and not request.content.at_eof():
        data += await request.content.read(MAX_BODY + 1 - len(data))
    if len(data) > MAX_BODY:
        raise BadOrder(reason="too long")
    try:
        return msgspec.json.decode(data or b"{}", type=shape)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise BadOrder(reason=str(error)) from error


def _groups(uid: int) -> list[int]:
    try:
        entry = pwd.getpwuid(uid)
        return os.getgrouplist(entry.pw_name, entry.pw_gid)
    except KeyError:
        return []
