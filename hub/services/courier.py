"""The carried stick, as caretakers use it: bundles and cards in the folder COMMHUB of a directory.

What does it lives above the services and is handed in as a `Courier`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hub.domain.errors import HubError, NotFound, Refused
from hub.domain.ids import HubId
from hub.words import N_

FOLDER = "COMMHUB"
LARGEST_FILE = 64 * 1024 * 1024
"""Bytes of the largest file that is carried unless a caretaker says otherwise."""
FIRST_DAYS = 90
"""How far back a bundle goes for a hub that has not said what it has."""


class NoStick(NotFound):
    """There is no such directory, or no folder COMMHUB in it."""

    code = "no-stick"
    template = N_("There is nothing for a hub in {path}. Nothing was changed. Is the stick plugged in?")


class StickFull(HubError):
    """The bundle does not fit."""

    code = "stick-full"
    status = 507
    template = N_(
        "The stick has {free} MB free, and {needed} MB are needed. Nothing was left on it. "
        "Make room, or carry fewer files with --files."
    )


class StickTrouble(HubError):
    """The stick was pulled out, is write-protected or failing."""

    code = "stick-trouble"
    status = 503
    template = N_(
        "The stick could not be used ({reason}). What is at the hub is safe, and no half bundle was left "
        "that anybody would read. Plug it in again, or try another one."
    )


class StickBusy(Refused):
    """A bundle is being written or read."""

    code = "stick-busy"
    status = 409
    template = N_("A stick is being written or read at the moment. Wait until that is done.")


class HubCopied(Refused):
    """Two hubs write with this hub's key, and nobody has decided which of them goes on."""

    code = "hub-copied"
    status = 409
    template = N_(
        "Another hub uses this hub’s key, as a copy of its card or an old backup would. Nothing is carried "
        "until you have said whether this hub moved or is a new one. Nothing was changed."
    )


@dataclass(frozen=True, slots=True)
class Load:
    """What to put on a stick.

    ``largest``: bytes of the largest file (None: all of them, 0: none). ``days``: everything of so many
    days, whatever the other hub says it has (None: what it lacks, else the last 90 days).
    """

    largest: int | None = LARGEST_FILE
    days: int | None = None


@dataclass(frozen=True, slots=True)
class Packed:
    """What was written: names of files in the folder, their ``size`` together, and what is in them.

    ``left_out`` files were larger than asked for. ``known``: the other hub had said what it has.
    """

    files: tuple[str, ...]
    size: int
    records: int
    blobs: int
    left_out: int
    known: bool


@dataclass(frozen=True, slots=True)
class Unpacked:
    """One bundle that was read. ``hub`` wrote it at ``made_ms`` (Unix, by its clock) with ``records``.

    ``stored`` are new here, ``known`` were here, ``waiting`` are kept aside, ``refused`` broke a rule;
    ``sealed`` are meant for another hub; ``blobs`` files are here now that were not. ``segments`` of which
    ``lost`` could not be read. ``name`` is the hub's, as it is called here; ``damaged``: not even who
    wrote it can be told.
    """

    file: str
    hub: HubId | None
    name: str = ""
    made_ms: int = 0
    records: int = 0
    stored: int = 0
    known: int = 0
    waiting: int = 0
    refused: int = 0
    sealed: int = 0
    blobs: int = 0
    segments: int = 0
    lost: int = 0

    @property
    def damaged(self) -> bool:
        """Whether nothing could be told of it."""
        return self.hub is None


@dataclass(frozen=True, slots=True)
class Written:
    """A card that was put on the stick: its path, and the nine words to read out."""

    path: Path
    words: str


class Courier(Protocol):
    """Bundles and cards, written and read. All of it may raise `NoStick`, `StickTrouble`, `StickBusy`."""

    async def write(self, directory: Path, to: HubId | None, load: Load) -> Packed:
        """Write what ``to`` lacks, or what any hub may have. Raises `StickFull`."""

    async def read(self, directory: Path) -> list[Unpacked]:
        """Take what others' bundles bring; once more does no harm."""

    async def write_card(self, directory: Path) -> Written:
        """Write this hub's card."""
