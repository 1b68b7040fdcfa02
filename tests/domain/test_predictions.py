"""The distance of two models' predictions is Kolmogorov and Smirnov's, whatever the predictions are."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.predictions import chance_distance, compare, ks_distance

NUMBERS = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.5, 0.9, 1.0, -3.0]), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.0], [3.0, 4.0], 1.0),
        ([1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0], 0.5),
        ([0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 1.0], 0.5),
        ([1.0], [1.0] * 99 + [2.0], 0.01),
        ([], [1.0], None),
    ],
)
def test_known_distances(first: list[float], second: list[float], distance: float | None) -> None:
    assert ks_distance(first, second) == (None if distance is None else pytest.approx(distance))


@given(NUMBERS, NUMBERS)
def test_it_is_the_largest_gap_between_the_two_distributions(first: list[float], second: list[float]) -> None:
    def share(of: list[float], most: float) -> float:
        return sum(each <= most for each in of) / len(of)

    gaps = [abs(share(first, each) - share(second, each)) for each in (*first, *second)]
    assert ks_distance(first, second) == pytest.approx(max(gaps))
    assert ks_distance(second, first) == pytest.approx(max(gaps))


def test_what_is_no_prediction_is_counted_and_not_compared() -> None:
    bad = [math.nan, math.inf, None, [0.5], 10**400]
    drift = compare([0.1, 0.2], [0.1, *bad, 0.2])
    assert (drift.distance, drift.green_rows, drift.green_unusable, drift.blue_unusable) == (0.0, 7, 5, 0)


def test_labels_and_truths_are_compared_too() -> None:
    assert compare([True, False], [1, 0]).distance == 0.0
    assert compare(["a", "a", "b", "b"], ["a", "b", "b", "b"]).distance == 0.25
    assert compare(["a"], [0.5]).distance == 1.0


def test_chance_alone_keeps_within_its_distance() -> None:
    """Of 300 pairs of one distribution about three may lie further apart; of a shifted one nearly all do."""
    draw = random.Random(7)
    beyond = shifted = 0
    for _ in range(300):
        first, second = ([draw.random() for _ in range(n)] for n in (200, 50))
        beyond += (ks_distance(first, second) or 0) > chance_distance(200, 50)
        shifted += (ks_distance(first, [each + 0.5 for each in second]) or 0) > chance_distance(200, 50)
    assert beyond <= 9 and shifted >= 290


def test_nothing_can_be_said_of_nothing() -> None:
    assert chance_distance(0, 100) == 1.0 and compare([], [0.5]).margin == 1.0
    assert chance_distance(1, 1) == 1.0
