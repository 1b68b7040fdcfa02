"""What a profile recommends: the cheapest that did what was asked of it, and why, for a person to read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.deployment import Resources
from shared.domain.profile import MAX_CANDIDATES, MAX_LEVELS
from shared.domain.profiling import MAX_REASON, Level, ProfileRecord, Tried, recommend
from shared.durable import wire


def level(concurrency: int = 4, p95: float = 40.0, *, ok: bool = True) -> Level:
    return Level(
        concurrency=concurrency, requests=300, per_s=1000 * concurrency / p95, p50_ms=p95 / 2, p95_ms=p95, p99_ms=p95,
        error_rate=0.0, ok=ok, reason="" if ok else f"p95 {p95:.0f} ms, <= 200 ms is required",
    )  # fmt: skip


def tried(name: str, usd: float | None, *levels: Level, **more: Any) -> Tried:
    resources = Resources(instance_type=name, cpu=more.pop("cpu", "1"), instances=more.pop("instances", 1))
    return Tried(candidate=name, deployment=f"p-{name}", resources=resources, usd_per_hour=usd,
                 levels=levels or (level(),), **more)  # fmt: skip


def test_the_cheapest_per_month_of_those_that_passed() -> None:
    small = tried("small", 0.1, level(1), level(4, 240, ok=False))
    large, larger = tried("large", 0.2), tried("larger", 0.4)

    found = recommend([small, larger, large])

    assert found.chosen == "p-large"
    assert found.reason == "large: $146.00 a month, the cheapest of 2 that passed"


def test_two_of_the_cheap_may_cost_more_than_one_of_the_dear() -> None:
    assert recommend([tried("two", 0.1, instances=2), tried("one", 0.15)]).chosen == "p-one"


@pytest.mark.parametrize(
    ("cheap", "other"),
    [
        (tried("a", 0.1, cpu="500m"), tried("b", 0.1, cpu="2")),
        (tried("a", 0.1, level(4, 30)), tried("b", 0.1, level(4, 90))),
        (tried("a", 0.1), tried("b", 0.1)),
    ],
    ids=["fewer cores", "the faster", "the first"],
)
def test_equally_cheap(cheap: Tried, other: Tried) -> None:
    assert recommend([cheap, other]).chosen == "p-a"


def test_none_that_passes_is_none_recommended_and_each_is_told_why() -> None:
    found = recommend([tried("slow", 0.1, level(1, 300, ok=False)), tried("gone", 0.1, reason="no quota")])

    assert found.chosen == ""
    assert found.reason == (
        "no candidate passed: slow: failed at 1 at once, p95 300 ms, <= 200 ms is required; "
        "gone: not available: no quota"
    )


def test_what_nobody_priced_is_not_the_cheapest() -> None:
    found = recommend([tried("mine", None), tried("theirs", 9.0)])
    assert found.chosen == "p-theirs" and "without a price and not compared: mine" in found.reason
    assert recommend([tried("mine", None)]).chosen == "p-mine"
    assert recommend([tried("mine", None), tried("yours", None)]).chosen == ""


def test_half_measured_is_not_passed() -> None:
    """The profile's time was over before all levels were measured: the reason says so, and it cannot win."""
    assert recommend([tried("a", 0.1, level(1), reason="profile.deadline passed")]).chosen == ""


def test_a_million_requests_cost_what_the_most_it_answered_in_a_second_says() -> None:
    one = tried("a", 0.36, level(1, 10), level(4, 40), level(16, 400, ok=False))
    assert one.usd_per_million == pytest.approx(0.36 / (100 * 3600) * 1e6)
    assert tried("a", None).usd_per_million is None


def test_a_line_for_each_and_one_for_what_is_recommended() -> None:
    both = [tried("small", 0.1, level(1), level(4, 240, ok=False)), tried("large", 0.2)]
    record = ProfileRecord(run="r", use="report", tried=tuple(both), recommendation=recommend(both))
    assert record.lines == (
        "profile small: failed at 4 at once; 1 at once: 25/s, p95 40 ms; 4 at once: 17/s, p95 240 ms; "
        "$73.00 a month; $1.11 a million requests",
        "profile large (recommended): passed; 4 at once: 100/s, p95 40 ms; $146.00 a month; "
        "$0.56 a million requests",
        "profile: large: $146.00 a month, the only one that passed",
    )


def test_the_largest_profile_fits_into_a_history() -> None:
    text = "ü" * MAX_REASON
    levels = [level(60 + n, 12345.6789) for n in range(MAX_LEVELS - 1)]
    failed = level(64, 12345.6789).model_copy(update={"ok": False, "reason": text})
    each = tried("x" * 63, 1234.5678, *levels, failed, reason=text)
    every = (each.model_copy(update={"candidate": "c" * 140}),) * MAX_CANDIDATES
    record = ProfileRecord(run="r" * 100, use="recommended", tried=every, recommendation=recommend(every))
    wire.to_wire(record)


CANDIDATES = st.builds(
    lambda number, usd, oks, reason: tried(f"c{number}", usd, *(level(n + 1, ok=ok) for n, ok in enumerate(oks)),
                                           reason=reason),
    st.integers(0, 10_000), st.one_of(st.none(), st.floats(0.01, 50)),
    st.lists(st.booleans(), min_size=1, max_size=3), st.sampled_from(["", "", "no quota"]),
)  # fmt: skip


@given(st.lists(CANDIDATES, max_size=8, unique_by=lambda each: each.candidate), st.randoms())
def test_whatever_is_recommended_passed_and_nothing_that_passed_is_cheaper(
    found: list[Tried], chance: Any
) -> None:
    chosen = recommend(found).chosen
    passed = [each for each in found if each.passed]
    months = [each.usd_per_month for each in passed if each.usd_per_month is not None]
    if chosen:
        (best,) = (each for each in found if each.deployment == chosen)
        assert best.passed and (best.usd_per_month == min(months) if months else len(passed) == 1)
    else:
        assert not months and len(passed) != 1
    chance.shuffle(mixed := [*found])
    again = next((each for each in mixed if each.deployment == recommend(mixed).chosen), None)
    assert (again.usd_per_month if again else None) == next(
        (each.usd_per_month for each in found if each.deployment == chosen), None
    )
