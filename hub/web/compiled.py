"""Compiled templates kept the way Python keeps its modules: beside their sources, in ``__pycache__``.

Compiling every template takes 170 ms of CPU, ten times that on a small machine, and would otherwise stop
the event loop for a part of it at the first visit of each page.
"""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import suppress
from pathlib import Path

from jinja2 import BytecodeCache
from jinja2.bccache import Bucket


class CompiledTemplates(BytecodeCache):
    """The cache in ``folder``. ``made_by`` is the source text that decides how templates are compiled."""

    def __init__(self, folder: Path, made_by: str) -> None:
        self._folder = folder
        self._made_by = made_by

    @property
    def keeps(self) -> bool:
        """Whether anything is or can be kept; not where Python writes no compiled modules either."""
        writable = not sys.dont_write_bytecode and os.access(self._folder.parent.parent, os.W_OK)
        return writable or self._folder.is_dir()

    def load_bytecode(self, bucket: Bucket) -> None:
        with suppress(OSError), self._place(bucket).open("rb") as file:
            bucket.load_bytecode(file)  # checks the versions of Python and Jinja, and the source's hash

    def dump_bytecode(self, bucket: Bucket) -> None:
        if sys.dont_write_bytecode:
            return
        place = self._place(bucket)
        fresh = place.with_name(f"{place.name}.{os.getpid()}")
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(bucket.bytecode_to_string())
            fresh.replace(place)

    def get_source_checksum(self, source: str) -> str:
        return hashlib.sha256(f"{self._made_by}\0{source}".encode()).hexdigest()

    def _place(self, bucket: Bucket) -> Path:
        return self._folder / f"{bucket.key}.{sys.implementation.cache_tag}.template"
