"""The settings as they are now: the file's, with what caretakers changed above them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hub import settings as files
from hub.domain.errors import Refused
from hub.domain.limits import Rate
from hub.domain.notices import Scope
from hub.domain.policy import BoardPolicy, FilePolicy, Posting
from hub.services.caretaking import Caretaking
from hub.settings import Settings
from hub.words import N_

TEN_MINUTES = 600
_MEGABYTE = 1_000_000


class NotWhileRunning(Refused):
    """A setting of the file."""

    code = "not-while-running"
    status = 409
    template = N_(
        "{key} is read when the hub starts. Write it into hub.toml in the data folder "
        "and start the hub again."
    )


@dataclass(frozen=True, slots=True)
class PreferenceLine:
    """A setting as `hub settings show` prints it."""

    key: str
    value: str
    default: str
    source: str
    live: bool
    sentence: str


class Preferences:
    """``current`` is one frozen value, replaced whole when something changes."""

    def __init__(self, from_file: Settings, changed: dict[str, str], now_changed: Callable[[], None]) -> None:
        """``changed`` is what caretakers set before; keys a newer or older release knew are ignored."""
        self._from_file = from_file
        self._live = {line.key for line in files.describe() if line.live}
        self._changed = {key: value for key, value in changed.items() if self._usable(key, value)}
        self._now_changed = now_changed
        self.current = files.apply(from_file, self._changed)

    async def change(self, key: str, text: str, actor: str, caretaking: Caretaking) -> PreferenceLine:
        """Set ``key`` from text, for now and after a restart, with a line in the ledger.

        The line has the value only where it is a rule of the board: others may name a person.
        """
        files.parse_value(key, text)
        if key not in self._live:
            raise NotWhileRunning(key=key)
        value = files.value_of(files.apply(self.current, {key: text}), key)
        public_value = value if key.startswith(("board.", "limits.", "files.")) else ""
        await caretaking.change_setting(key, text, public_value, actor)
        self._changed[key] = text
        self.current = files.apply(self.current, {key: text})
        self._now_changed()
        return next(line for line in self.lines() if line.key == key)

    def lines(self) -> list[PreferenceLine]:
        """Every setting, where its value comes from, and what it means."""
        defaults = Settings()
        found = []
        for line in files.describe():
            source = "caretaker" if line.key in self._changed else "file"
            if source == "file" and files.value_of(self._from_file, line.key) == files.value_of(
                defaults, line.key
            ):
                source = "default"
            found.append(
                PreferenceLine(
                    line.key,
                    files.value_of(self.current, line.key),
                    line.default,
                    source,
                    line.live,
                    line.sentence,
                )
            )
        return found

    def policy(self) -> BoardPolicy:
        """What the board's rules are at this moment."""
        board, limits = self.current.board, self.current.limits
        return BoardPolicy(
            posting=Posting(board.posting),
            first_held=board.first_held,
            lifetime_days=board.lifetime_days,
            max_days=board.max_days,
            undo_minutes=board.undo_minutes,
            default_scope=Scope(board.default_scope),
            per_device=Rate(limits.per_device, TEN_MINUTES),
            per_address=Rate(limits.per_address, TEN_MINUTES),
            whole_hub=Rate(limits.whole_hub, TEN_MINUTES),
            new_devices=Rate(limits.new_devices, 60),
            phrase_tries=Rate(limits.phrase_tries, TEN_MINUTES),
            urgent_per_day=board.urgent_per_day,
            report_days=board.report_days,
        )

    def file_policy(self) -> FilePolicy:
        """What the file share's limits are at this moment."""
        limits = self.current.files
        return FilePolicy(
            largest=limits.largest_megabytes * _MEGABYTE,
            per_device_day=limits.device_megabytes * _MEGABYTE,
            files_per_day=limits.device_files,
            per_collection=limits.collection_megabytes * _MEGABYTE,
            upload_hours=limits.upload_hours,
            box_days=limits.box_days,
        )

    def _usable(self, key: str, value: str) -> bool:
        try:
            files.parse_value(key, value)
        except files.SettingsError:
            return False
        return key in self._live
