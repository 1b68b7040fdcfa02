"""Derived names are the same each time, differ when what they are for differs, and Azure takes them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import names
from shared.domain.schedule import Slot

WORKLOADS = st.from_regex(r"[a-z][a-z0-9-]{1,38}[a-z0-9]", fullmatch=True)
SLOTS = st.one_of(
    st.datetimes(datetime(2000, 1, 1), datetime(2099, 1, 1)).map(
        lambda at: Slot(at=at.replace(tzinfo=UTC)).id
    ),
    st.from_regex(r"manual-[0-9a-f]{16}", fullmatch=True),
)
EPOCHS = st.integers(0, 9999)


@given(WORKLOADS, SLOTS)
def test_a_run_id_serves_as_instance_id_and_in_blob_names(workload: str, slot: str) -> None:
    run = names.score_run_id(workload, slot)
    # With room for the suffix of a batch: a durable instance id has at most 100 characters, none of / \ # ? and controls.
    assert re.fullmatch(r"[A-Za-z0-9-]{1,90}", run)
    assert names.is_run_id(run)


def test_a_run_id_says_what_and_when() -> None:
    run = names.score_run_id("flights-nightly", "20130201T020000Z")
    assert run == "score-flights-nightly-20130201T020000Z"


@pytest.mark.parametrize(
    "text",
    [
        "", "score", "score-flights", "score-flights-20130201", "../score-flights-20130201T020000Z",
        "score-flights-20130201T020000Z/..", "score-fl/ights-20130201T020000Z", "score-flights-20130201T020000Z\n",
        "score-flights-20130201T020000Z\0", "SCORE-flights-20130201T020000Z", "score-flights-manual-xyz",
        "score-" + "a" * 100 + "-20130201T020000Z", "score-flights-２０１３0201T020000Z",
    ],
)  # fmt: skip
def test_what_is_no_run_id_is_told(text: str) -> None:
    assert not names.is_run_id(text)


@given(st.lists(st.tuples(WORKLOADS, st.sampled_from(["score", "train"]), st.integers(0, 31)), unique=True))
def test_two_machines_never_share_a_lease(machines: list[tuple[str, str, int]]) -> None:
    leases = [names.lease_id(*machine) for machine in machines]
    assert len(set(leases)) == len(machines)
    assert all(re.fullmatch(r"[0-9a-f]{16}", lease) for lease in leases)


def test_a_lease_is_the_same_on_every_replay() -> None:
    assert names.lease_id("score-flights-20130201T020000Z", "score", 0) == "934efb35b80cff6e"


@given(WORKLOADS, EPOCHS)
def test_a_machine_s_name_is_valid_and_tells_lease_and_epoch(run: str, epoch: int) -> None:
    lease = names.lease_id(run, "score", 0)
    vm = names.vm_name(lease, epoch)
    # Linux host names and virtual machines: at most 64, letters, digits and hyphens, no hyphen at the ends.
    assert re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,48}[a-z0-9])", vm)
    assert names.parse_vm_name(vm) == (lease, epoch)


@given(st.one_of(st.text(max_size=40), st.from_regex(r"vm-[0-9a-f]{15,17}-e[0-9]{1,12}.?", fullmatch=True)))
def test_only_our_names_parse(text: str) -> None:
    parsed = names.parse_vm_name(text)
    assert parsed is None or names.vm_name(*parsed) == text


def test_a_job_s_id_tells_batch_and_epoch() -> None:
    assert names.job_id(0, 1) == "b00-e1"
    assert names.job_id(31, 2) == "b31-e2"
    assert names.job_id(0, 1, 2) == "b00-e1r2"
    # The newest is the last in the order that a container lists its blobs in.
    assert sorted(f"{names.job_id(0, 1, attempt)}.json" for attempt in (2, 1)) == [
        "b00-e1.json",
        "b00-e1r2.json",
    ]


def test_a_cluster_s_name_keeps_to_azure_ml_s_24_characters() -> None:
    lease = "0123456789abcdef"
    assert names.cluster_name(lease, 1) == "ml-0123456789ab-e1"
    assert len(names.cluster_name(lease, 999_999)) <= 24
    assert names.cluster_job_name(lease, 2, "b00-e2") == "0123456789abcdef-e2-b00-e2"


@given(WORKLOADS, SLOTS, WORKLOADS)
def test_a_run_belongs_to_one_workload(workload: str, slot: str, other: str) -> None:
    run = names.score_run_id(workload, slot)
    assert names.is_run_of(run, workload)
    assert names.is_run_of(run, other) == (other == workload)
    assert not names.is_run_of(run, f"{workload}-manual-0123456789abcdef")
    assert not names.is_run_of(f"{run}.b00", workload)


@pytest.mark.parametrize("make", [names.score_run_id, names.train_run_id, names.drift_run_id])
def test_a_run_of_any_kind_belongs_to_its_workload(make: Callable[[str, str], str]) -> None:
    run = make("flights", "20130201T020000Z")
    assert names.is_run_id(run) and names.is_run_of(run, "flights")
    assert not names.is_run_of(make("train-flights", "20130201T020000Z"), "flights")


def test_a_workload_that_begins_like_another_is_not_that_one() -> None:
    assert not names.is_run_of("score-flights-nightly-20130201T020000Z", "flights")
