"""Token buckets: never more than the rate allows, and the wait that is named is the true one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hub.domain.limits import Bucket, Rate, draw, full

rates = st.builds(Rate, st.integers(1, 1000), st.integers(1, 3600))
steps = st.lists(st.floats(0, 500), min_size=1, max_size=120)


@given(rates, steps)
def test_never_more_is_drawn_than_the_rate_allows(rate: Rate, pauses: list[float]) -> None:
    now, drawn = 0.0, 0
    bucket = full(rate, now)
    for pause in pauses:
        now += pause
        bucket, wait = draw(bucket, rate, now)
        drawn += not wait
        assert 0 <= bucket.tokens <= rate.amount
        assert drawn <= rate.amount + now * rate.amount / rate.seconds + 1e-6


@given(rates)
def test_the_whole_amount_may_come_at_once_and_no_more(rate: Rate) -> None:
    bucket = full(rate, 7.0)
    for _ in range(rate.amount):
        bucket, wait = draw(bucket, rate, 7.0)
        assert wait == 0
    assert draw(bucket, rate, 7.0)[1] > 0


@given(rates, st.floats(0, 0.999))
def test_after_the_wait_that_was_named_one_more_is_allowed(rate: Rate, left: float) -> None:
    bucket = Bucket(left, 50.0)
    after, wait = draw(bucket, rate, 50.0)
    assert wait > 0
    assert draw(after, rate, 50.0 + wait + 1e-6)[1] == 0
    assert draw(after, rate, 50.0 + wait * 0.9)[1] > 0


@given(rates, st.floats(0, 1000), st.floats(0, 1000))
def test_a_refusal_costs_nothing_and_a_clock_that_stands_or_falls_refills_nothing(
    rate: Rate, at: float, back: float
) -> None:
    empty = Bucket(0.0, at)
    after, wait = draw(empty, rate, at - back)
    assert (after, wait > 0) == (empty, True)
