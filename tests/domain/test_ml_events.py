"""What Event Grid delivers becomes one value, whatever schema, casing, order or batch it came in."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.ml_events import (
    EventKind,
    Ignored,
    MlEvent,
    is_about,
    listeners,
    normalise,
    normalise_all,
)
from shared.durable.wire import MAX_PAYLOAD_BYTES

WORKSPACE = "/subscriptions/S/resourceGroups/R/providers/Microsoft.MachineLearningServices/workspaces/W"
ACCOUNT = "/subscriptions/S/resourceGroups/R/providers/Microsoft.Storage/storageAccounts/musterdev"
ML = "Microsoft.MachineLearningServices."
BREACH = "churn_mon_data_drift has failed due to one or more features violating metric thresholds"
AT = datetime(2026, 3, 2, 3, 20, tzinfo=UTC)

DATA: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ModelRegistered": (f"{ML}ModelRegistered", "models/churn:3", {
        "modelName": "churn", "modelVersion": "3", "modelTags": {"causedBy": "muster/train-churn-x"},
        "modelProperties": {}}),
    "ModelDeployed": (f"{ML}ModelDeployed", "endpoints/churn-rt", {
        "serviceName": "churn-rt", "serviceComputeType": "ACI", "modelIds": "churn:3", "serviceTags": {},
        "serviceProperties": {}}),
    "RunCompleted": (f"{ML}RunCompleted", "experiments/x/runs/run_1", {
        "experimentId": "e", "experimentName": "x", "runId": "run_1", "runType": "azureml.scriptrun",
        "runTags": {"team": "a"}, "runProperties": {}}),
    "RunStatusChanged": (f"{ML}RunStatusChanged", "experiments/x/runs/run_1", {
        "experimentName": "x", "runId": "run_1", "runStatus": "Running", "runTags": {}}),
    "breach": (f"{ML}RunStatusChanged", "experiments/x/runs/mon_42", {
        "runId": "mon_42", "runStatus": "Failed", "runTags": {"azureml_modelmonitor_threshold_breached": BREACH}}),
    "DatasetDriftDetected": (f"{ML}DatasetDriftDetected", "datadrift/d1/run/drift_7", {
        "dataDriftId": "d1", "dataDriftName": "churn_mon", "runId": "drift_7", "baseDatasetId": "b",
        "targetDatasetId": "t", "driftCoefficient": 0.83, "startTime": "2026-03-01T00:00:00Z",
        "endTime": "2026-03-02T00:00:00Z"}),
    "BlobCreated": ("Microsoft.Storage.BlobCreated",
        "/blobServices/default/containers/landing/blobs/flights/2013-06-01.parquet", {
        "api": "PutBlob", "eTag": "0x8D", "url": "https://musterdev.blob.core.windows.net/landing/flights/a",
        "accessTier": "Hot", "contentLength": 12}),
}  # fmt: skip
KINDS = {
    "ModelRegistered": EventKind.MODEL_REGISTERED, "ModelDeployed": EventKind.MODEL_DEPLOYED,
    "RunCompleted": EventKind.RUN_COMPLETED, "RunStatusChanged": EventKind.RUN_STATUS_CHANGED,
    "breach": EventKind.DRIFT, "DatasetDriftDetected": EventKind.DRIFT, "BlobCreated": EventKind.BLOB_CREATED,
}  # fmt: skip
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def event_grid(name: str, **changes: Any) -> dict[str, Any]:
    type_, subject, data = DATA[name]
    source = ACCOUNT if name == "BlobCreated" else WORKSPACE
    whole = {
        "id": "e1", "topic": source, "subject": subject, "eventType": type_, "data": data,
        "eventTime": "2026-03-02T03:20:00.1234567Z", "dataVersion": "", "metadataVersion": "1",
    }  # fmt: skip
    return {**whole, **changes}


def cloud_event(name: str, **changes: Any) -> dict[str, Any]:
    plain = event_grid(name)
    whole = {
        "specversion": "1.0", "id": "e1", "source": plain["topic"], "subject": plain["subject"],
        "type": plain["eventType"], "time": plain["eventTime"], "data": plain["data"],
    }  # fmt: skip
    return {**whole, **changes}


def recased(value: Any, case: Callable[[str], str], *, tags: bool = False) -> Any:
    """The value with the keys of its mappings in another case; those of tags too, if so asked."""
    if not isinstance(value, dict):
        return value
    return {
        case(k): recased(v, case if tags or "tag" not in k.lower() else str, tags=tags)
        for k, v in value.items()
    }


def read(raw: Any) -> MlEvent:
    found = normalise(raw)
    assert isinstance(found, MlEvent), found
    return found


def pascal(name: str) -> str:
    return name[:1].upper() + name[1:]


@pytest.mark.parametrize("name", DATA)
def test_every_event_is_the_same_value_in_either_schema(name: str) -> None:
    found = read(event_grid(name))
    assert found == read(cloud_event(name))
    assert found.kind is KINDS[name]
    assert found.occurred == AT.replace(microsecond=123456)
    assert found.source == (ACCOUNT if name == "BlobCreated" else WORKSPACE).lower()


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("case", [pascal, str.upper, str.lower, str.swapcase])
def test_the_case_of_keys_means_nothing(name: str, case: Callable[[str], str]) -> None:
    plain = read(event_grid(name))
    assert read(recased(event_grid(name), case)) == plain
    assert read(recased(cloud_event(name), case)) == plain
    assert read(recased(event_grid(name), case, tags=True)).key == plain.key


@given(st.sampled_from(sorted(DATA)), st.lists(st.booleans(), min_size=60, max_size=60))
def test_any_mixture_of_cases_means_nothing(name: str, upper: list[bool]) -> None:
    flags = iter(upper * 4)
    mixed = recased(
        event_grid(name), lambda key: "".join(c.upper() if next(flags, False) else c for c in key)
    )
    assert read(mixed) == read(event_grid(name))


@pytest.mark.parametrize("name", DATA)
def test_data_may_come_as_text_or_bytes(name: str) -> None:
    data = json.dumps(DATA[name][2])
    encoded = base64.b64encode(data.encode()).decode()
    packed = cloud_event(name, data_base64=encoded)
    del packed["data"]
    assert read(packed) == read(event_grid(name, data=data)) == read(event_grid(name))


def test_what_each_event_is_about() -> None:
    about = {name: (read(event_grid(name)).subject, read(event_grid(name)).version) for name in DATA}
    assert about == {
        "ModelRegistered": ("models/churn", "3"),
        "ModelDeployed": ("services/churn-rt", "churn:3"),
        "RunCompleted": ("runs/run_1", ""),
        "RunStatusChanged": ("runs/run_1", "run_1:Running"),
        "breach": ("runs/mon_42", ""),
        "DatasetDriftDetected": ("runs/drift_7", ""),
        "BlobCreated": ("landing/flights/2013-06-01.parquet", "0x8D"),
    }


def test_a_breach_names_its_monitor_and_says_what_broke() -> None:
    found = read(event_grid("breach"))
    assert (found.monitor, found.message, found.run, found.run_status) == (
        "churn_mon_data_drift", BREACH, "mon_42", "Failed"
    )  # fmt: skip
    older = read(event_grid("DatasetDriftDetected"))
    assert (older.monitor, older.coefficient, older.run_status) == ("churn_mon", 0.83, "")


@pytest.mark.parametrize("status", ["Failed", "Completed", "Running", ""])
def test_a_breach_is_one_fact_whatever_the_status_it_came_with(status: str) -> None:
    data = {**DATA["breach"][2], "runStatus": status}
    assert read(event_grid("breach", data=data)).key == read(event_grid("breach")).key


def test_a_drift_told_in_the_old_way_and_the_new_is_one_fact() -> None:
    old = {**DATA["DatasetDriftDetected"][2], "runId": "mon_42"}
    assert read(event_grid("DatasetDriftDetected", data=old)).key == read(event_grid("breach")).key


def test_without_a_run_a_drift_is_known_by_monitor_and_window() -> None:
    data = {k: v for k, v in DATA["DatasetDriftDetected"][2].items() if k != "runId"}
    first = read(event_grid("DatasetDriftDetected", subject="", data=data))
    later = read(
        event_grid("DatasetDriftDetected", subject="", data={**data, "endTime": "2026-03-03T00:00:00Z"})
    )
    assert first.subject == "monitors/churn_mon"
    assert first.key != later.key
    assert first.key == read(cloud_event("DatasetDriftDetected", subject=None, data=data)).key


@pytest.mark.parametrize("version", [3, "3"])
def test_a_version_may_come_as_a_number(version: object) -> None:
    data = {**DATA["ModelRegistered"][2], "modelVersion": version}
    assert read(event_grid("ModelRegistered", data=data)).version == "3"


def test_what_the_data_leaves_out_the_subject_says() -> None:
    """No field of the published schemas is required."""
    assert read(event_grid("ModelRegistered", data={})).version == "3"
    assert read(event_grid("RunCompleted", data={})).run == "run_1"
    assert read(event_grid("DatasetDriftDetected", data={})).run == "drift_7"


@given(
    st.sampled_from(sorted(DATA)),
    st.text(max_size=40),
    st.datetimes(datetime(2001, 1, 1), datetime(2099, 1, 1)),
)
def test_the_key_is_of_the_fact_and_not_of_the_delivery(name: str, id_: str, when: datetime) -> None:
    again = read(
        event_grid(name, id=id_, eventTime=when.isoformat(), topic=event_grid(name)["topic"].upper())
    )
    assert again.key == read(event_grid(name)).key
    assert len(again.key) == 32 and set(again.key) <= set("0123456789abcdef")


def test_different_facts_have_different_keys() -> None:
    facts = [read(event_grid(name)) for name in DATA]
    other = [
        read(event_grid("breach", topic=WORKSPACE + "2")),
        read(event_grid("RunCompleted", subject="runs/2", data={})),
    ]
    states = [
        read(event_grid("RunStatusChanged", data={"runId": "run_1", "runStatus": s}))
        for s in ("Failed", "Queued")
    ]
    assert len({fact.key for fact in (*facts, *other, *states)}) == len(facts) + 4


@pytest.mark.parametrize("mark", ["causedBy", "CausedBy", "causedby"])
@pytest.mark.parametrize(("name", "field"), [
    ("ModelRegistered", "modelTags"), ("ModelRegistered", "modelProperties"), ("RunCompleted", "runTags"),
    ("RunCompleted", "runProperties"), ("ModelDeployed", "serviceTags"), ("breach", "runTags"),
])  # fmt: skip
def test_what_we_caused_ourselves_is_known_as_our_own(name: str, field: str, mark: str) -> None:
    data = {
        k: v for k, v in DATA[name][2].items() if not k.endswith(("Tags", "Properties")) or name == "breach"
    }
    data[field] = {**data.get(field, {}), mark: "muster/train-churn-event-0123456789abcdef"}
    assert read(event_grid(name, data=data)).is_own
    data[field] = {**data[field], mark: "somebody"}
    assert not read(event_grid(name, data=data)).is_own


@pytest.mark.parametrize("value", ["NaN", "Infinity", float("nan"), "much", None, [], True])
def test_a_coefficient_that_is_no_number_is_none(value: object) -> None:
    data = {**DATA["DatasetDriftDetected"][2], "driftCoefficient": value}
    assert read(event_grid("DatasetDriftDetected", data=data)).coefficient is None


@pytest.mark.parametrize("raw", [
    None, 7, "event", [], {}, {"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent"},
    event_grid("breach", eventType="Microsoft.MachineLearningServices.Unheard"), event_grid("breach", eventType=None),
    event_grid("breach", eventTime=None), event_grid("breach", eventTime="soon"), event_grid("breach", topic=""),
    event_grid("breach", subject="", data={}), event_grid("ModelRegistered", subject="", data="{half"),
    event_grid("BlobCreated", subject="elsewhere"), cloud_event("breach", subject=None, data=None, data_base64="!"),
])  # fmt: skip
def test_what_is_no_fact_we_know_is_a_value_with_its_reason(raw: object) -> None:
    found = normalise(raw)
    assert isinstance(found, Ignored)
    assert found.reason


@given(json_values)
def test_nothing_that_comes_makes_it_raise(raw: object) -> None:
    normalise(raw)
    for name in DATA:
        normalise(event_grid(name, data=raw))
        normalise(event_grid(name, subject=raw, eventTime=raw))


@pytest.mark.parametrize("letter", ["x", "\u00e9", "\U0001f332"])
def test_an_event_is_small_enough_to_cross_the_durable_boundary(letter: str) -> None:
    """However much somebody wrote into it. The breach and the cause are kept."""
    long = letter * 5000
    marks = {**DATA["breach"][2]["runTags"], "zz": "kept last", "causedBy": "somebody"}
    data = {
        "runId": long, "experimentName": long, "runStatus": long,
        "runTags": {**{f"a{n}{long}": long for n in range(60)}, **marks},
    }  # fmt: skip
    found = read(event_grid("breach", data=data, subject=long))
    assert (found.kind, found.caused_by, found.message) == (EventKind.DRIFT, "somebody", BREACH)
    assert len(found.model_dump_json().encode()) < MAX_PAYLOAD_BYTES


def test_a_batch_is_its_events_in_order() -> None:
    batch = [event_grid(name) for name in DATA]
    assert normalise_all([*batch, 7]) == (*(read(each) for each in batch), normalise(7))
    assert normalise_all(batch[0]) == (read(batch[0]),)


@pytest.mark.parametrize(("monitor", "fits"), [
    ("churn_mon", True), ("CHURN_MON", True), ("churn_mon_data_drift", True), ("churn", True), ("churn_mo", False),
    ("mon", False), ("churn_mon_data_drift_2", False),
])  # fmt: skip
def test_a_breach_is_for_the_monitor_that_it_names(monitor: str, fits: bool) -> None:
    assert bool(is_about(read(event_grid("breach")), monitor)) is fits


def test_of_two_monitors_that_fit_the_longer_name_is_meant() -> None:
    monitors = [
        ("all-churn", "churn"),
        ("churn-mon", "churn_mon"),
        ("twin", "churn_mon"),
        ("flights", "flights"),
    ]
    assert listeners(read(event_grid("breach")), monitors) == ("churn-mon", "twin")
    assert listeners(read(event_grid("breach")), monitors[3:]) == ()
