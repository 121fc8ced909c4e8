"""``python -m tests.bench [board posts search start crowd …] [--json FILE] [--folder DIR]``."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import platform
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from tests.bench.figures import Figure, table
from tests.bench.street import Ground

BENCHES = (
    "board",
    "posts",
    "search",
    "start",
    "idle",
    "crowd",
    "downloads",
    "uploads",
    "reconciliation",
    "blobs",
    "neighbours",
    "apart",
)


def main() -> int:
    """Run them; 0 when every goal is met."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("benches", nargs="*", choices=[[], *BENCHES], help="which ones (all)")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument(
        "--folder", type=Path, default=Path("/var/tmp"), help="where hubs are made: a real disk"
    )
    arguments = parser.parse_args()
    figures: list[Figure] = []
    print(_machine(), flush=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="hub-bench-") as work:
        ground = Ground(Path(work))
        for name in arguments.benches or BENCHES:
            began = time.monotonic()
            found = importlib.import_module(f"tests.bench.{name}").run(ground)
            figures += found
            print(f"\n{table(found)}\n({time.monotonic() - began:.0f} s)", flush=True)
    short = [figure for figure in figures if figure.met is False]
    met = [figure for figure in figures if figure.met]
    print(f"\n{len(met)} goals met, {len(short)} short.")
    for figure in short:
        print(f"SHORT {figure.bench}: {figure.what}: {figure.shown} {figure.unit}, goal {figure.goal}")
    if arguments.json:
        facts = [{**dataclasses.asdict(figure), "met": figure.met} for figure in figures]
        arguments.json.write_text(json.dumps({"machine": _machine(), "figures": facts}, indent=1), "utf-8")
    return 1 if short else 0


def _machine() -> str:
    """What the figures were measured on."""
    return (
        f"{os.cpu_count()} processors ({platform.machine()}), load {os.getloadavg()[0]:.1f}, Python "
        f"{platform.python_version()}, aiohttp {aiohttp.__version__}, SQLite {sqlite3.sqlite_version}"
    )


if __name__ == "__main__":
    sys.exit(main())
