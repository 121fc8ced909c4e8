"""Proves records of other hubs: hashes and signatures, in a process of its own while many of them come.

Verifying is half the work of taking records in, and Python's one lock is held for all of it: in a thread it
would make pages wait and could not use a second processor. The process is started when many records come
and ends when none have come for a while; without it, or should it fail, a thread does the same.

``python -m hub.services.proving`` is that process. For each batch it reads the length of what follows (4
bytes, big-endian) and a CBOR array of header, signature and body for each record. It answers with a byte
for each: 1 for a genuine one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from hub.domain import cbor
from hub.domain.errors import Refused
from hub.domain.records import MAX_BODY, BadRecord, Header, Record, WireRecord, decode_header, prove

_log = logging.getLogger(__name__)

MANY = 40
"""Records that come together, from which on they are proved in the process."""
IDLE_S = 20.0
"""After which the process ends."""
ANSWER_S = 30.0
"""For which an answer is waited for: a batch takes a tenth of a second on a slow card computer."""
_PACKAGES = Path(__file__).resolve().parents[2]

Read = tuple[WireRecord, Header]
"""A record, and its header as it was read from it."""


def proved(wire: WireRecord, header: Header) -> Record:
    """The record, with its body's form and every hash and the signature checked; raises `Refused`."""
    if wire.body is not None:
        if len(wire.body) > MAX_BODY:
            raise BadRecord("too long")
        cbor.decode(wire.body)  # what is in the log is read without being proved again
    return prove(header, wire.header, wire.signature, wire.body)


def prove_all(records: Iterable[Read]) -> list[Record | Refused]:
    """Each of ``records`` as it was signed, or why it is none."""
    found: list[Record | Refused] = []
    for wire, header in records:
        try:
            found.append(proved(wire, header))
        except Refused as refused:
            found.append(refused)
    return found


async def prove_in_thread(records: Sequence[Read]) -> list[Record | Refused]:
    """`prove_all` in a thread."""
    return await asyncio.to_thread(prove_all, records)


class Prover:
    """Starts and ends the process as it is needed; `close` at the end."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._process: Process | None = None
        self._ending: asyncio.TimerHandle | None = None
        self._is_of_use = (os.cpu_count() or 1) > 1

    async def prove(self, records: Sequence[Read]) -> list[Record | Refused]:
        """As `prove_all`; batches in the order in which they came."""
        async with self._turn:
            if not self._is_of_use or (len(records) < MANY and self._process is None):
                return await prove_in_thread(records)
            try:
                genuine = await self._ask(records)
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                self._is_of_use = False
                _log.warning("the process that proves records failed; a thread does it now")
                return await prove_in_thread(records)
        others = [each for each, is_genuine in zip(records, genuine, strict=True) if not is_genuine]
        reasons = iter(await prove_in_thread(others) if others else ())
        return [
            Record(header, wire.header, wire.signature, wire.body) if is_genuine else next(reasons)
            for (wire, header), is_genuine in zip(records, genuine, strict=True)
        ]

    async def close(self) -> None:
        """End the process."""
        async with self._turn:
            process = self._process
            self._let_go()
            if process is not None:
                await process.wait()

    async def _ask(self, records: Sequence[Read]) -> bytes:
        if self._ending is not None:
            self._ending.cancel()
        process = self._process = self._process or await _started()
        assert process.stdin is not None  # noqa: S101 - PIPE was asked for
        assert process.stdout is not None  # noqa: S101 - as well
        batch = cbor.encode([[wire.header, wire.signature, wire.body] for wire, _ in records])
        try:
            async with asyncio.timeout(ANSWER_S):
                process.stdin.write(len(batch).to_bytes(4, "big") + batch)
                await process.stdin.drain()
                answer = await process.stdout.readexactly(len(records))
        except BaseException:  # an answer that nobody read would be taken for the next one
            self._process = None
            with suppress(ProcessLookupError):
                process.kill()
            raise
        self._ending = asyncio.get_running_loop().call_later(IDLE_S, self._let_go)
        return answer

    def _let_go(self) -> None:
        """Let the process end by itself: there is nothing more to read for it."""
        process, self._process = self._process, None
        if self._ending is not None:
            self._ending.cancel()
        if process is not None and process.stdin is not None:
            process.stdin.close()


async def _started() -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "hub.services.proving",
        stdin=PIPE, stdout=PIPE, stderr=DEVNULL, cwd="/", start_new_session=True,
        env={"PYTHONPATH": str(_PACKAGES)},
    )  # fmt: skip


def serve(asked: BinaryIO, answered: BinaryIO) -> None:
    """Answer batches until there are no more."""
    while length := asked.read(4):
        batch = cbor.read(asked.read(int.from_bytes(length, "big")))
        answered.write(bytes(_is_genuine(WireRecord(*parts)) for parts in batch))
        answered.flush()


def _is_genuine(wire: WireRecord) -> bool:
    try:
        proved(wire, decode_header(wire.header, stored=True))  # whoever asks has proved its form
    except Refused:
        return False
    return True


if __name__ == "__main__":
    with suppress(BrokenPipeError, KeyboardInterrupt):
        serve(sys.stdin.buffer, sys.stdout.buffer)
