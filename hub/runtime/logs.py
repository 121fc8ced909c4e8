"""Log lines as ``key=value`` on standard error: what happened, never who or what they wrote."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Final

_FIELDS: Final = ("task", "method", "path", "code", "status", "check", "count", "seconds", "port")
"""The only fields a line may carry besides its message."""


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        parts = [
            f"level={record.levelname.lower()}",
            f"part={record.name.removeprefix('hub.')}",
            f"event={record.getMessage()!r}",
        ]
        parts += [f"{name}={getattr(record, name)!r}" for name in _FIELDS if name in record.__dict__]
        line = " ".join(parts)
        if record.exc_info and record.exc_info[1] is not None:
            line += "\n" + _where_and_what(record.exc_info[1])
        return line


def _where_and_what(error: BaseException) -> str:
    """The frames and the kind of an error, without its message, which may quote what people wrote."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    return f"{frames}{type(error).__name__}"


class _CountedNotLogged(logging.Filter):
    """What strangers' broken requests make aiohttp say is counted elsewhere, not written to the card."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.CRITICAL


def set_up(level: str) -> None:
    """Send the program's log to standard error at ``level`` (a name of `logging`)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("aiohttp.server", "aiohttp.access", "aiohttp.web"):
        logging.getLogger(name).addFilter(_CountedNotLogged())
    logging.getLogger("aiosqlite").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
