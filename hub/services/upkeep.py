"""`hub check` and `hub rebuild`: whether all is as signed, and everything made anew from the log."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hub.storage import fetching, inspection, notices, retention, scrubs
from hub.storage.blobs import BlobStore
from hub.storage.database import Connection, Database
from hub.storage.inspection import Finding
from hub.storage.projections import rebuild


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found, and a sentence on how much it looked at."""

    findings: tuple[Finding, ...]
    counted: str


class Upkeep:
    """Runs in the writer's thread: nothing is written meanwhile, and readers go on."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    async def check(self) -> CheckResult:
        """Signatures, hashes, ledger, projections, search index, SQLite's own check, and every picture."""

        def look(connection: Connection) -> tuple[list[Finding], int, list[str], set[str]]:
            findings = list(inspection.check(connection))
            awaited = fetching.names_missing(connection) - set(scrubs.noted(connection))
            named = retention.named_blobs(connection)
            return findings, notices.counts(connection, 0).records, named, awaited

        findings, records, named, awaited = await self._database.maintain(look)
        blobs = [sha256 for sha256 in named if sha256 not in awaited or await self._is_here(sha256)]
        for sha256 in blobs:
            if not await asyncio.to_thread(self._sound, sha256):
                findings.append(Finding("blob", f"file or picture {sha256[:16]}… is missing or damaged"))
        counted = f"{records} records, {len(blobs)} files and pictures"
        return CheckResult(tuple(findings), counted)

    async def rebuild(self) -> int:
        """Make every projection again; local truth is untouched. Returns how many objects."""
        return await self._database.write(rebuild)

    async def _is_here(self, sha256: str) -> bool:
        return await asyncio.to_thread(self._blobs.exists, sha256)

    def _sound(self, sha256: str) -> bool:
        return self._blobs.exists(sha256) and self._blobs.verify(sha256)
