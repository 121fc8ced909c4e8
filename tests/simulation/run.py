"""`python -m tests.simulation --seed N --steps N [--towns N]`: run towns, say how fast, replay a failure."""

from __future__ import annotations

import argparse
import time
from collections import Counter

from tests.simulation.town import Town


def simulate(seed: int, steps: int, favourite: str = "") -> Town:
    """The town of ``seed`` after so many steps; what goes wrong says which seed, and what came before."""
    town = Town(seed, favourite)
    try:
        town.run(steps)
    except BaseException as error:
        error.add_note(
            f"\nseed {seed}, step {town.step} of {steps}; its last events:\n" + "\n".join(town.events)
        )
        raise
    return town


def main() -> None:
    """Run towns of consecutive seeds."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--towns", type=int, default=1)
    given = parser.parse_args()
    total: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    started = time.perf_counter()
    for seed in range(given.seed, given.seed + given.towns):
        town = simulate(seed, given.steps)
        total += town.ledger.arrivals
        ends += town.ledger.ends
        print(  # noqa: T201
            f"seed {seed}: {len(town.halls)} hubs{', one hostile' if town.mallory else ''},"
            f" {len(town.ledger.genuine)} records written, {town.ledger.arrivals['once']} deliveries,"
            f" {town.digest.hexdigest()[:12]}"
        )
    seconds = time.perf_counter() - started
    steps = given.steps * given.towns
    print(f"{steps} steps in {seconds:.1f} s: {steps / seconds:.0f} a second")  # noqa: T201
    print(f"records that came: {dict(total)}")  # noqa: T201
    print(f"sessions with a hostile hub ended: {dict(ends)}")  # noqa: T201
