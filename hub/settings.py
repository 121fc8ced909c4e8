"""All settings: one TOML file, typed; environment and flags for the few that matter; live ones by command.

The file is ``hub.toml`` in the data folder and may be missing. A key that is not known is refused with
its line and the nearest key that is. What caretakers change while the hub runs is kept in its
database and stands above the file.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from hub.domain.errors import Refused
from hub.domain.policy import DEFAULT_RULES
from hub.words import N_
from hub.words.catalogues import find_zone

_LIVE = {"live": True}


class SettingsError(Refused):
    """A setting that cannot be used."""

    code = "settings-error"
    status = 422
    template = N_("{where}: {reason} Nothing was changed.")


class HubSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """[hub]: who this hub is to people."""

    name: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=60,
            description="What people call the hub; its address is made from it at the start.",
        ),
    ] = "Community Hub"
    language: Annotated[
        Literal["en", "cy", "pl", "ur", "ar"],
        Meta(description="The language of pages for browsers that ask for none of the hub's.", extra=_LIVE),
    ] = "en"
    time_zone: Annotated[str, Meta(description="Whose midnight ends a notice's last day.")] = "Europe/London"
    house_colour: Annotated[
        Literal["moss", "damson", "harbour", "brick", "heather", "olive", "peacock", "slate"],
        Meta(description="The colour of the hub's band and cards.", extra=_LIVE),
    ] = "moss"
    caretaker: Annotated[
        str, Meta(max_length=120, description="Who looks after the hub, as pages say it.", extra=_LIVE)
    ] = ""
    opening: Annotated[str, Meta(max_length=200, description="When somebody is there.", extra=_LIVE)] = ""
    contact: Annotated[
        str, Meta(max_length=200, description="How to reach those who look after it.", extra=_LIVE)
    ] = ""
    controller: Annotated[
        str, Meta(max_length=200, description="Who answers for people's data.", extra=_LIVE)
    ] = ""


class WebSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """[web]: the residents' pages."""

    listen: Annotated[
        str, Meta(description="The address to listen on; empty for every address of the machine.")
    ] = ""
    port: Annotated[int, Meta(ge=0, le=65535, description="The port; 0 takes a free one.")] = 8080
    hosts: Annotated[tuple[str, ...], Meta(description="Further host names the hub answers to.")] = ()
    connections: Annotated[int, Meta(ge=16, le=4096, description="Connections at once, in all.")] = 512
    heads_per_address: Annotated[
        int, Meta(ge=4, le=4096, description="Connections of one address that have not asked anything yet.")
    ] = 64
    head_seconds: Annotated[
        float, Meta(ge=0.2, le=120, description="Until a request's head has to be complete.")
    ] = 10.0
    idle_seconds: Annotated[
        float, Meta(ge=0.2, le=600, description="How long a connection may wait for its next request.")
    ] = 30.0


class BoardSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """[board]: what may be put up, and for how long."""

    posting: Annotated[
        Literal["open", "checked", "paused"],
        Meta(
            description="open: shown at once; checked: a caretaker looks first; paused: reading only.",
            extra=_LIVE,
        ),
    ] = "open"
    first_held: Annotated[
        int, Meta(ge=0, le=100, description="How many first notices of a new device are held.", extra=_LIVE)
    ] = 0
    lifetime_days: Annotated[
        int, Meta(ge=1, le=400, description="How long a notice stays unless its author chooses.", extra=_LIVE)
    ] = 28
    max_days: Annotated[
        int, Meta(ge=1, le=400, description="The longest an author can choose.", extra=_LIVE)
    ] = 400
    undo_minutes: Annotated[
        int, Meta(ge=1, le=1440, description="How long what was taken down can be put back.", extra=_LIVE)
    ] = 30
    default_scope: Annotated[
        Literal["hub", "neighbours", "network"],
        Meta(description="Who may see a notice unless its author chooses.", extra=_LIVE),
    ] = "network"
    urgent_per_day: Annotated[
        int,
        Meta(ge=0, le=100, description="Urgent notices of residents that the hub takes a day.", extra=_LIVE),
    ] = 3
    rules: Annotated[
        tuple[str, ...], Meta(min_length=1, max_length=30, description="The house rules, in order.")
    ] = DEFAULT_RULES
    rules_version: Annotated[str, Meta(max_length=40, description="The version of the house rules.")] = "1"
    rules_date: Annotated[
        str, Meta(pattern=r"^\d{4}-\d\d-\d\d$", description="When they were agreed, as 2026-11-23.")
    ] = "2026-11-23"
    report_days: Annotated[
        int, Meta(ge=1, le=3650, description="How long a decided report is kept.", extra=_LIVE)
    ] = 180


class LimitSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """[limits]: how much may be written, each in ten minutes unless said otherwise."""

    per_device: Annotated[int, Meta(ge=1, description="Things one device may write.", extra=_LIVE)] = 10
    per_address: Annotated[
        int, Meta(ge=1, description="Things one address may write; a hall may share one.", extra=_LIVE)
    ] = 100
    whole_hub: Annotated[int, Meta(ge=1, description="Things all may write together.", extra=_LIVE)] = 600
    new_devices: Annotated[
        int, Meta(ge=1, description="New devices that may begin to write in a minute.", extra=_LIVE)
    ] = 30
    phrase_tries: Annotated[
        int, Meta(ge=1, description="Take-down phrases one address may try.", extra=_LIVE)
    ] = 10
    picture_megabytes: Annotated[
        int, Meta(ge=1, le=100, description="The largest picture file that is taken.")
    ] = 16


class FilesSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """[files]: the file share."""

    largest_megabytes: Annotated[
        int, Meta(ge=1, description="The largest file that is taken.", extra=_LIVE)
    ] = 4000
    device_megabytes: Annotated[
        int, Meta(ge=1, description="What one device may bring in a day.", extra=_LIVE)
    ] = 4000
    device_files: Annotated[
        int, Meta(ge=1, description="How many files one device may put up in a day.", extra=_LIVE)
    ] = 200
    collection_megabytes: Annotated[
        int, Meta(ge=0, description="The most one collection may hold; 0 for as much as fits.", extra=_LIVE)
    ] = 0
    upload_hours: Annotated[
        int, Meta(ge=1, le=720, description="How long an upload that stopped is kept.", extra=_LIVE)
    ] = 48
    box_days: Annotated[
        int,
        Meta(ge=1, le=400, description="How long files stay in the open box that a new hub begins with."),
    ] = 90


class StorageSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """[storage]: the card."""

    reserve_percent: Annotated[
        int, Meta(ge=0, le=90, description="Share of the card that files and pictures leave free.")
    ] = 10
    reserve_megabytes: Annotated[
        int, Meta(ge=0, description="Megabytes that files and pictures leave free, if that is more.")
    ] = 1000


class DiscoverySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """[discovery]: being found, and finding."""

    announce: Annotated[
        bool, Meta(description="Announce the hub's name on the network, and look for other hubs there.")
    ] = True


class NeighboursSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """[neighbours]: exchanging with other hubs."""

    listen: Annotated[bool, Meta(description="Talk to paired hubs, and let new ones be paired.")] = True
    address: Annotated[
        str, Meta(description="The address to listen on; empty for every address of the machine.")
    ] = ""
    port: Annotated[
        int, Meta(ge=0, le=65535, description="The port for paired hubs; 0 takes a free one.")
    ] = 8448
    pairing_port: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="The port that is open while a caretaker lets a hub be paired; 0 takes a free one.",
        ),
    ] = 8449
    files_percent: Annotated[
        int,
        Meta(ge=0, le=90, description="Share of the card that files of other hubs may fill."),
    ] = 25
    sessions: Annotated[
        int, Meta(ge=1, le=64, description="With how many hubs this one compares at the same time.")
    ] = 4


class LogSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """[log]: what the program says on standard error."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="How much is said.")] = (
        "info"
    )


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    hub: HubSettings = HubSettings()
    web: WebSettings = WebSettings()
    board: BoardSettings = BoardSettings()
    limits: LimitSettings = LimitSettings()
    files: FilesSettings = FilesSettings()
    storage: StorageSettings = StorageSettings()
    discovery: DiscoverySettings = DiscoverySettings()
    neighbours: NeighboursSettings = NeighboursSettings()
    log: LogSettings = LogSettings()


@dataclass(frozen=True, slots=True)
class Described:
    """One setting: its dotted ``key``, ``type`` (in words), ``default`` as text, whether it can be
    changed while the hub runs (``live``), and what it means."""

    key: str
    type: str
    default: str
    live: bool
    sentence: str


def load(path: Path, environ: Mapping[str, str], flags: Mapping[str, str]) -> Settings:
    """The settings of the file at ``path`` (or the defaults), then the environment, then flags.

    ``environ`` may hold HUB_PORT, HUB_NAME, HUB_LISTEN; ``flags`` dotted keys. Blocking. Raises
    `SettingsError`.
    """
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        text = ""
    except UnicodeDecodeError as error:
        raise SettingsError(where=path.name, reason="the file is not UTF-8 text.") from error
    except OSError as error:
        raise SettingsError(where=path.name, reason=f"it cannot be read ({error.strerror}).") from error
    settings = parse(text, path.name)
    named = {"HUB_PORT": "web.port", "HUB_NAME": "hub.name", "HUB_LISTEN": "web.listen"}
    above = {key: environ[name] for name, key in named.items() if environ.get(name)}
    return apply(settings, {**above, **flags})


def parse(text: str, file: str) -> Settings:
    """The settings in a file's text; raises `SettingsError` with the line of what is wrong."""
    try:
        values = tomllib.loads(text)
    except ValueError as error:
        at = re.search(r" \(at (?:line (\d+)|end of document).*", str(error))
        line = at[1] if at and at[1] else text.rstrip().count("\n") + 1
        what = str(error)[: at.start()] if at else str(error)
        raise SettingsError(where=f"{file}, line {line}", reason=f"this is not TOML: {what}.") from error
    known = _known()
    names: dict[str, list[str]] = {}
    for item in known.values():
        names.setdefault(item.section, []).append(item.name)
    settings = Settings()
    for section, content in values.items():
        if section not in names:
            reason = _belongs(section, "") or _nearest(section, list(names), "section", f"[{section}]")
            raise SettingsError(where=_where(file, text, section), reason=reason)
        if not isinstance(content, dict):
            reason = f"“{section}” is a section: write [{section}]."
            raise SettingsError(where=_where(file, text, section), reason=reason)
        given: dict[str, object] = {}
        for name, raw in content.items():
            try:
                given[name] = _setting(section, name, names[section]).value(raw, strict=True)
            except ValueError as error:
                raise SettingsError(where=_where(file, text, section, name), reason=str(error)) from error
        part = msgspec.structs.replace(getattr(settings, section), **given)
        settings = msgspec.structs.replace(settings, **{section: part})
    return settings


def describe() -> list[Described]:
    """Every setting, in the order of the file."""
    return [
        Described(key, item.words, as_text(item.default), item.live, item.sentence)
        for key, item in _known().items()
    ]


def apply(settings: Settings, values: Mapping[str, str]) -> Settings:
    """``settings`` with each dotted key set from text; raises `SettingsError`."""
    for key, text in values.items():
        section, _, name = key.partition(".")
        value = parse_value(key, text)
        part = getattr(settings, section)
        settings = msgspec.structs.replace(
            settings, **{section: msgspec.structs.replace(part, **{name: value})}
        )
    return settings


def parse_value(key: str, text: str) -> Any:
    """The value that ``text`` gives the setting ``key``, the texts of a list with ``|`` between them.

    Raises `SettingsError`.
    """
    known = _known()
    setting = known.get(key)
    if setting is None:
        raise SettingsError(where=key, reason=_nearest(key, list(known), "setting", key))
    raw: object = text
    if get_origin(setting.kind) is tuple:
        raw = [part.strip() for part in text.split("|") if part.strip()]
    try:
        return setting.value(raw, strict=False)
    except ValueError as error:
        raise SettingsError(where=key, reason=str(error)) from error


def value_of(settings: Settings, key: str) -> str:
    """The value of a dotted key, as text that `parse_value` takes."""
    section, _, name = key.partition(".")
    return as_text(getattr(getattr(settings, section), name))


def as_text(value: object) -> str:
    """A setting's value as a person types it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return " | ".join(str(part) for part in value)
    return str(value)


@dataclass(frozen=True, slots=True)
class _Setting:
    """One field of one section's struct."""

    section: str
    holder: type[Struct]
    name: str
    kind: Any
    meta: Meta
    default: object

    @property
    def live(self) -> bool:
        return bool((self.meta.extra or {}).get("live"))

    @property
    def sentence(self) -> str:
        return self.meta.description or ""

    @property
    def words(self) -> str:
        """What fits, in words that can follow "it has to be"."""
        return _FORMS[self._key][1] if self._key in _FORMS else _type_words(self.kind, self.meta)

    @property
    def _key(self) -> str:
        return f"{self.section}.{self.name}"

    def value(self, raw: object, *, strict: bool) -> object:
        """``raw`` as this setting's type; text may stand for a number unless ``strict``.

        Raises `ValueError` with a sentence.
        """
        if self.kind is str and isinstance(raw, date):  # TOML's own form of a date, without quotes
            raw = raw.isoformat()
        fits = _FORMS[self._key][0] if self._key in _FORMS else None
        try:
            value: object = msgspec.convert(raw, Annotated[self.kind, self.meta], strict=strict)
        except msgspec.ValidationError:
            pass
        else:
            if fits is None or fits(str(value)):
                return value
        shown = as_text(tuple(raw) if isinstance(raw, list) else raw)
        quotes = ""
        if strict and get_origin(self.kind) is not tuple:
            is_text, wants_text = isinstance(raw, str), self.kind is str or get_origin(self.kind) is Literal
            if is_text != wants_text:
                quotes = ", in quotes" if wants_text else ", without quotes"
        raise ValueError(f"“{shown}” does not fit; it has to be {self.words}{quotes}.")


@cache
def _known() -> dict[str, _Setting]:
    """Every setting by its dotted key, in the order of the file."""
    known = {}
    for section in msgspec.structs.fields(Settings):
        hints = get_type_hints(section.type, include_extras=True)
        for item in msgspec.structs.fields(section.type):
            kind, meta = get_args(hints[item.name])[:2]
            setting = _Setting(section.name, section.type, item.name, kind, meta, item.default)
            known[f"{section.name}.{item.name}"] = setting
    return known


def _setting(section: str, name: str, names: list[str]) -> _Setting:
    """That setting; raises `ValueError` with a sentence when there is none of that name."""
    setting = _known().get(f"{section}.{name}")
    if setting is None:
        raise ValueError(_belongs(name, section) or _nearest(name, names, "setting", name))
    return setting


def _is_name(text: str) -> bool:
    return text.isprintable() and not text.isspace()


def _is_time_zone(text: str) -> bool:
    """True as well where the operating system has no time zones to look ``text`` up in."""
    known = find_zone(text) is not UTC or text in ("UTC", "Etc/UTC")
    return known or find_zone("Europe/London") is UTC


def _is_address(text: str) -> bool:
    try:
        return not text or bool(ip_address(text))
    except ValueError:
        return False


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


_FORMS: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "hub.name": (_is_name, "a name of at most 60 characters"),
    "hub.time_zone": (_is_time_zone, "a time zone such as Europe/London"),
    "web.listen": (_is_address, "an IP address, or empty"),
    "neighbours.address": (_is_address, "an IP address, or empty"),
    "board.rules_date": (_is_date, "a date such as 2026-11-23"),
}
"""Settings whose form their type does not tell, and that form in words."""


def _nearest(typed: str, names: list[str], what: str, shown: str) -> str:
    near = difflib.get_close_matches(typed, names, 1, 0.5)
    hint = f"Did you mean “{near[0]}”?" if near else f"Known here: {', '.join(names)}."
    return f"there is no {what} “{shown}”. {hint}"


def _belongs(name: str, section: str) -> str:
    """A sentence when ``name`` is a setting, only of another section than ``section``."""
    others = [item.section for item in _known().values() if item.name == name and item.section != section]
    return f"“{name}” stands under [{others[0]}]." if others else ""


def _where(file: str, text: str, section: str, name: str = "") -> str:
    """``hub.toml, line 3``: where the setting, or its section, first stands.

    Found by reading ever longer beginnings of the file: its statement starts on the line after the
    longest beginning that is TOML and does not have it yet.
    """
    lines = text.split("\n")
    start = 1
    for count in range(1, len(lines) + 1):
        try:
            values = tomllib.loads("\n".join(lines[:count]))
        except ValueError:
            continue
        if section in values and (not name or name in values[section]):
            break
        start = count + 1
    return f"{file}, line {start}"


def _type_words(kind: Any, meta: Meta) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if get_origin(kind) is tuple:
        return f"a list of {meta.min_length} or more texts" if meta.min_length else "a list of texts"
    if kind is bool:
        return "true or false"
    if kind is str:
        return f"text of at most {meta.max_length} characters" if meta.max_length else "text"
    number = "a whole number" if kind is int else "a number"
    return (
        f"{number} from {meta.ge} to {meta.le}" if meta.le is not None else f"{number} of at least {meta.ge}"
    )
