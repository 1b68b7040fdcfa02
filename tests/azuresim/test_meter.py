"""The bill is right to the second and adds up."""

from __future__ import annotations

import json
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from localdev.azuresim.meter import Meter

VM = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm1"
DISK = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/d1"
MIDNIGHT = 1_767_225_600.0


def test_a_machine_is_charged_to_the_second() -> None:
    meter = Meter()
    meter.start(VM, "D4s v5", 0.23, MIDNIGHT, {"muster-lease": "l1"})
    meter.stop(VM, MIDNIGHT + 754)
    (line,) = meter.lines(MIDNIGHT + 9000)
    assert (line.seconds, line.ended, line.meter) == (754, MIDNIGHT + 754, "D4s v5")
    assert line.usd == Decimal("0.048172222")
    assert line.tags == {"muster-lease": "l1"}


def test_a_running_meter_shows_what_it_cost_until_now() -> None:
    meter = Meter()
    meter.start(VM, "D4s v5", 0.36, MIDNIGHT, {})
    assert meter.lines(MIDNIGHT + 10)[0].usd == Decimal("0.001")
    assert meter.lines(MIDNIGHT + 20)[0].usd == Decimal("0.002")
    assert meter.lines(MIDNIGHT)[0].ended is None


def test_starting_and_stopping_twice_changes_nothing() -> None:
    meter = Meter()
    meter.start(VM, "D4s v5", 0.23, MIDNIGHT, {})
    meter.start(VM, "D4s v5", 0.23, MIDNIGHT + 50, {})
    meter.stop(VM, MIDNIGHT + 60)
    meter.stop(VM, MIDNIGHT + 600)
    meter.stop("/never/seen", MIDNIGHT)
    assert [(line.started, line.ended) for line in meter.lines(MIDNIGHT + 999)] == [(MIDNIGHT, MIDNIGHT + 60)]


def test_ids_are_one_resource_however_they_are_written() -> None:
    meter = Meter()
    meter.start(VM, "D4s v5", 0.23, MIDNIGHT, {})
    meter.start(VM.upper(), "D4s v5", 0.23, MIDNIGHT + 5, {})
    meter.retag(VM.lower(), {"a": "b"})
    meter.stop(VM.upper(), MIDNIGHT + 60)
    (line,) = meter.lines(MIDNIGHT + 60)
    assert (line.resource_id, line.seconds, line.tags) == (VM, 60, {"a": "b"})


def test_deallocating_and_starting_again_makes_a_second_line() -> None:
    meter = Meter()
    for begin, end in ((0, 60), (100, 130)):
        meter.start(VM, "D4s v5", 0.23, MIDNIGHT + begin, {})
        meter.stop(VM, MIDNIGHT + end)
    assert [line.seconds for line in meter.lines(MIDNIGHT + 500)] == [60, 30]


def test_a_new_rate_ends_the_old_line() -> None:
    meter = Meter()
    meter.start(DISK, "E10", 0.01, MIDNIGHT, {})
    meter.start(DISK, "E10", 0.02, MIDNIGHT + 100, {})
    assert [(line.seconds, line.usd_per_hour) for line in meter.lines(MIDNIGHT + 150)] == [
        (100, 0.01),
        (50, 0.02),
    ]


def test_one_meter_of_a_resource_stops_alone() -> None:
    meter = Meter()
    meter.start(VM, "cores", 0.2, MIDNIGHT, {})
    meter.start(VM, "licence", 0.1, MIDNIGHT, {})
    meter.stop(VM, MIDNIGHT + 1, meter="cores")
    assert [line.ended is None for line in meter.lines(MIDNIGHT + 9)] == [False, True]


def test_new_tags_hold_from_now_on() -> None:
    meter = Meter()
    meter.start(VM, "D4s v5", 0.23, MIDNIGHT, {"owner": "a"})
    meter.stop(VM, MIDNIGHT + 1)
    meter.start(VM, "D4s v5", 0.23, MIDNIGHT + 2, {"owner": "a"})
    meter.retag(VM, {"owner": "b"})
    assert [line.tags["owner"] for line in meter.lines(MIDNIGHT + 3)] == ["a", "b"]


def test_a_bill_survives_being_written_down() -> None:
    meter = Meter()
    meter.start(VM, "D4s v5", 0.23, MIDNIGHT, {"a": "b"})
    meter.stop(VM, MIDNIGHT + 7)
    meter.start(DISK, "E10", 0.0131506, MIDNIGHT, {})
    restored = Meter()
    restored.load(json.loads(json.dumps(meter.dump())))
    assert restored.lines(MIDNIGHT + 60) == meter.lines(MIDNIGHT + 60)
    restored.stop(DISK, MIDNIGHT + 61)
    assert restored.lines(MIDNIGHT + 99)[1].seconds == 61
    assert json.dumps([line.to_json() for line in restored.lines(MIDNIGHT)])


def test_a_clock_that_goes_back_charges_nothing_negative() -> None:
    meter = Meter()
    meter.start(VM, "D4s v5", 0.23, MIDNIGHT, {})
    meter.stop(VM, MIDNIGHT - 100)
    assert meter.lines(MIDNIGHT)[0].usd == 0


@given(st.lists(st.integers(0, 100_000), min_size=1, max_size=30), st.integers(1, 9999))
def test_the_total_is_the_sum_of_the_seconds(lengths: list[int], millis: int) -> None:
    """However a machine's time is cut into stretches, the bill differs by rounding only: half a nano-dollar each."""
    meter, rate, at = Meter(), millis / 1000, MIDNIGHT
    for length in lengths:
        meter.start(VM, "m", rate, at, {})
        at += length
        meter.stop(VM, at)
    exact = Decimal(str(rate)) * sum(lengths) / 3600
    assert sum(line.seconds for line in meter.lines(at)) == sum(lengths)
    assert abs(meter.total_usd(at) - exact) <= Decimal("0.0000000005") * len(lengths)
