"""Limits on how much may be written how fast: token buckets as pure values; time is monotonic seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """``amount`` acts per ``seconds``; the whole amount may come at once."""

    amount: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is left of a rate at a moment: ``tokens`` as of ``at`` (monotonic seconds)."""

    tokens: float
    at: float


def full(rate: Rate, now: float) -> Bucket:
    """A bucket nobody has drawn from yet."""
    return Bucket(rate.amount, now)


def draw(bucket: Bucket, rate: Rate, now: float, cost: float = 1) -> tuple[Bucket, float]:
    """Take ``cost`` tokens: the bucket afterwards and 0.0, or the bucket unchanged and the seconds to wait.

    Seconds run only forward: a ``now`` before the bucket's own moment refills nothing.
    """
    elapsed = max(0.0, now - bucket.at)
    speed = rate.amount / rate.seconds
    tokens = min(float(rate.amount), bucket.tokens + elapsed * speed)
    if tokens >= cost:
        return Bucket(tokens - cost, max(now, bucket.at)), 0.0
    return Bucket(tokens, max(now, bucket.at)), (cost - tokens) / speed
