"""A declaration is read whole, or refused with every fault: where, what, what is allowed, what to do."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import Fault, SpecError, SpecErrors
from shared.domain.workload import BatchScoring, parse_workload, workload_schema

PLATFORMS = ("dsvm", "local")

WHOLE = """\
kind: BatchScoring
name: flights-nightly
schedule: {cron: "0 2 * * *", timeZone: America/New_York, misfire: run_once, overlap: skip}
input: {container: landing, prefix: flights/, pattern: "*.parquet", watermark: lastModified, settle: PT2M}
model: {name: flights-delay, version: champion}
scoring: {code: workloads/churn/scoring, entry: score.py, miniBatchSize: 10}
compute: {platform: dsvm, sizes: [Standard_D2s_v5], regions: [westeurope], priority: spot-then-dedicated, instances: 1}
fanout: {maxShards: 64, attempts: 3, minSuccessRatio: 0.99}
limits: {deadline: PT3H, ttl: PT4H, budgetUsd: 12}
output: {container: scores, path: "flights/{slot}/"}
"""

SHORT = """\
kind: BatchScoring
name: churn
input: {container: landing, prefix: churn/}
model: {name: churn}
compute: {platform: local}
output: {container: scores, path: "churn/{slot}/"}
"""


def parse(text: str) -> BatchScoring:
    workload = parse_workload(text, source="w.yaml", platforms=PLATFORMS)
    assert isinstance(workload, BatchScoring)
    return workload


def faults_of(text: str) -> list[Fault]:
    with pytest.raises(SpecErrors) as refused:
        parse(text)
    assert isinstance(refused.value, SpecError)
    assert refused.value.source == "w.yaml"
    return list(refused.value.faults)


def only_fault(text: str) -> Fault:
    (fault,) = faults_of(text)
    return fault


def changed(path: str, value: object) -> str:
    """The whole declaration with the value at `path` replaced, as YAML."""
    data = yaml.safe_load(WHOLE)
    *parents, last = path.split(".")
    part = data
    for key in parents:
        part = part[key]
    part[last] = value
    return yaml.safe_dump(data, sort_keys=False)


def test_a_whole_declaration_is_read() -> None:
    workload = parse(WHOLE)
    assert workload.schedule is not None
    assert workload.schedule.cron == "0 2 * * *"
    assert workload.input.settle == timedelta(minutes=2)
    assert workload.scoring is not None
    assert workload.scoring.mini_batch_size == 10
    assert workload.compute.priority == "spot-then-dedicated"
    assert workload.limits.budget_usd == 12


def test_a_short_declaration_suffices_and_its_defaults_are_cautious() -> None:
    workload = parse(SHORT)
    assert workload.schedule is None
    assert workload.scoring is None
    assert (workload.input.pattern, workload.input.watermark) == ("*.parquet", "lastModified")
    assert workload.model.version == "champion"
    assert (workload.compute.instances, workload.compute.priority) == (1, "dedicated")
    assert not any("Standard_N" in size for size in workload.compute.sizes)
    assert workload.fanout.min_success_ratio == 1.0
    assert workload.limits.ttl == workload.limits.deadline + timedelta(hours=1)


def test_the_machine_may_outlive_a_declared_deadline_by_default() -> None:
    assert parse(SHORT + "limits: {deadline: PT30H}\n").limits.ttl == timedelta(hours=31)


def test_every_and_anchor_are_read_as_elapsed_time() -> None:
    schedule = parse(SHORT + "schedule: {every: PT10H, anchor: 2026-03-01T02:00:00+02:00}\n").schedule
    assert schedule is not None
    assert (schedule.every, schedule.anchor) == (timedelta(hours=10), datetime(2026, 3, 1, tzinfo=UTC))


def test_the_example_of_scenario_s1_is_read_but_for_what_does_not_exist_yet() -> None:
    s1 = (
        '{"kind":"BatchScoring","name":"churn","schedule":{"every":"PT10H","anchor":"2026-03-01T00:00:00Z",'
        '"timeZone":"Europe/Paris","misfire":"run_once","overlap":"skip"},"input":{"container":"landing",'
        '"prefix":"churn/","pattern":"*.csv","watermark":"lastModified","settle":"PT2M"},"model":{"name":"churn",'
        '"version":"champion"},"compute":{"platform":"dsvm","sizes":["Standard_NC4as_T4_v3","Standard_D8s_v5"],'
        '"regions":["westeurope","northeurope"],"priority":"spot-then-dedicated"},"fanout":{"maxShards":64,'
        '"minSuccessRatio":0.99,"attempts":3},"limits":{"budgetUsd":12,"deadline":"PT3H","ttl":"PT4H"},'
        '"output":{"container":"scores","path":"churn/{slot}/"}}'
    )
    assert parse(s1).compute.sizes == ("Standard_NC4as_T4_v3", "Standard_D8s_v5")


@pytest.mark.parametrize(
    "text", [WHOLE, SHORT, SHORT + "schedule: {every: P1DT90S, anchor: 2026-03-01T00:00:00Z}\n"]
)
@pytest.mark.parametrize("by_alias", [True, False])
def test_a_workload_comes_back_from_json(text: str, by_alias: bool) -> None:
    workload = parse(text)
    wire = json.loads(json.dumps(workload.model_dump(mode="json", by_alias=by_alias)))
    assert BatchScoring.model_validate(wire) == workload


def test_a_workload_from_a_newer_version_is_read_back_from_a_history() -> None:
    wire = parse(SHORT).model_dump(mode="json", by_alias=True) | {"newInV9": 1}
    assert BatchScoring.model_validate(wire) == parse(SHORT)


def test_every_fault_is_told_at_once_with_its_place_and_remedy() -> None:
    faults = faults_of(
        """\
kind: BatchScoring
name: Flights
schedule:
  cron: "0 2 * *"
  timezone: Europe/Paris
  misfire: runonce
input: {container: La--nding, prefix: "", settle: 5m}
model: {name: churn, version: 1}
compute: {platform: dsmv, instances: "3"}
limits: {deadline: PT3H, ttl: PT2H, budgetUsd: -1}
limits: {}
output: {container: scores}
"""
    )
    told = [(f.line, f.column, f.path, f.message, f.hint) for f in faults]
    assert told == [
        (2, 7, "name", "'Flights' is not allowed", None),
        (4, 9, "schedule.cron", "'0 2 * *' has 4 fields instead of 5", None),
        (5, 3, "schedule.timezone", "is not a known key", "Did you mean timeZone?"),
        (6, 12, "schedule.misfire", "'runonce' is not one of them", "Did you mean run_once?"),
        (7, 20, "input.container", "'La--nding' is not allowed", None),
        (
            7, 39, "input.prefix",
            "is empty: every blob of the container would be scored, whoever put it there", None,
        ),
        (7, 51, "input.settle", "'5m' is not a duration", "Write PT5M"),
        (8, 31, "model.version", "must be text, not 1", "Put it in quotes"),
        (9, 21, "compute.platform", "'dsmv' is not a platform", "Did you mean dsvm?"),
        (9, 38, "compute.instances", "must be a whole number, not '3'", "Remove the quotes: 3"),
        (
            10, 31, "limits.ttl",
            "PT2H is shorter than limits.deadline, PT3H: the machine would be taken away before the work may be late",
            None,
        ),
        (10, 48, "limits.budgetUsd", "is -1", None),
        (11, 1, "limits", "is given twice, first in line 10", "Keep one of them"),
        (12, 9, "output.path", "is required", "Add `path:` to output"),
    ]  # fmt: skip
    assert all(
        f.allowed
        for f in faults
        if f.path in ("name", "schedule.cron", "schedule.timezone", "compute.platform")
    )


REFUSED: list[tuple[str, object, str]] = [
    # path in the whole declaration, a value that is wrong, what the fault says
    ("kind", "BatchScorin", "is not a kind"),
    ("kind", ["BatchScoring"], "is not a kind"),
    ("name", "ab", "not allowed"), ("name", "a" * 41, "41 characters"), ("name", "-ab", "not allowed"),
    ("name", "ab-", "not allowed"), ("name", "1ab", "not allowed"), ("name", "a_b", "not allowed"),
    ("name", "abc\n", "not allowed"), ("name", None, "must be text"), ("name", True, "must be text"),
    ("schedule", "0 2 * * *", "must be a mapping"), ("schedule", {}, "neither `cron` nor `every`"),
    ("schedule.every", "PT1H", "both `cron` and `every`"),
    ("schedule", {"every": "PT1H"}, "no `anchor`"),
    ("schedule.anchor", "2026-03-01T00:00:00Z", "goes with `every`"),
    ("schedule", {"every": "PT30S", "anchor": "2026-03-01T00:00:00Z"}, "out of range"),
    ("schedule", {"every": "P367D", "anchor": "2026-03-01T00:00:00Z"}, "out of range"),
    ("schedule", {"every": "PT1H", "anchor": "2026-03-01T00:00:00"}, "is not allowed"),
    ("schedule", {"every": "PT1H", "anchor": "2026-02-30T00:00:00Z"}, "day"),
    ("schedule", {"every": "PT1H", "anchor": 20260301}, "is not allowed"),
    ("schedule", {"every": "PT1H", "anchor": "2099-12-31T23:00:00-05:00"}, "is not allowed"),
    ("schedule", {"every": "PT1H", "anchor": "0001-01-01T00:00:00+05:00"}, "out of range"),
    ("input.settle", ["PT2M"] * 1000, "has no unit"),
    ("schedule.cron", "0 0 2 * * *", "leave out the seconds"), ("schedule.cron", "60 2 * * *", "minute"),
    ("schedule.cron", "0 0 30 2 *", "day-of-month"), ("schedule.cron", "0 0 */29 2 MON#5", "never comes"),
    ("schedule.cron", "@daily", "1 fields"), ("schedule.cron", "* " * 200, "characters"),
    ("schedule.cron", 5, "must be text"),
    ("schedule.timeZone", "Europe/Atlantis", "not a time zone"), ("schedule.timeZone", "Europe", "not a time zone"),
    ("schedule.timeZone", "../etc/passwd", "not a time zone"), ("schedule.timeZone", "/etc/localtime", "not a time zone"),
    ("schedule.timeZone", "localtime", "not a time zone"), ("schedule.timeZone", "a\0b", "not a time zone"),
    ("schedule.timeZone", "x" * 5000, "not a time zone"), ("schedule.timeZone", "", "not a time zone"),
    ("schedule.overlap", "allow", "not one of them"), ("schedule.overlap", None, "not one of them"),
    ("input.container", "ab", "not allowed"), ("input.container", "a" * 64, "64 characters"),
    ("input.container", "$root", "not allowed"), ("input.container", "a--b", "not allowed"),
    ("input.container", "-ab", "not allowed"), ("input.container", "ab-", "not allowed"),
    ("input.prefix", "", "is empty"), ("input.prefix", "/", "starts with a slash"),
    ("input.prefix", "/flights/", "starts with a slash"), ("input.prefix", "../other/", "`..`"),
    ("input.prefix", "a/../b", "`..`"), ("input.prefix", "a/..", "`..`"), ("input.prefix", "./a", "`..`"),
    ("input.prefix", "a//b", "empty segment"), ("input.prefix", "a\\b", "backslash"),
    ("input.prefix", "a\0b", "control"), ("input.prefix", "a\nb", "control"), ("input.prefix", "%2e%2e/", "percent"),
    ("input.prefix", "a./b", "ends with a dot"), ("input.prefix", "a" * 501, "501 characters"),
    ("input.pattern", "", "0 characters"), ("input.pattern", "../*", "`..`"), ("input.pattern", "*" * 201, "201"),
    ("input.watermark", "etag", "not one of them"), ("input.settle", 120, "has no unit"),
    ("input.settle", "-PT2M", "not a duration"), ("input.settle", "P1Y", "not a duration"),
    ("input.settle", "P2D", "out of range"), ("input.settle", "PT", "not a duration"), ("input.settle", "P", "not a"),
    ("input.settle", "PT1.5H", "not a duration"), ("input.settle", "PT٢M", "not a duration"),
    ("model.name", "a/b", "not allowed"), ("model.name", "..", "not allowed"), ("model.name", "a..b", "not allowed"),
    ("model.version", "../1", "not allowed"), ("model.version", 1.10, "must be text"),
    ("model.version", "", "not allowed"),
    ("scoring.code", "../secrets", "not allowed"), ("scoring.code", ".", "not allowed"),
    ("scoring.code", "/etc", "not allowed"), ("scoring.code", "a/.git", "not allowed"),
    ("scoring.code", "a\\b", "not allowed"), ("scoring.entry", "a/b.py", "not allowed"),
    ("scoring.entry", "score.sh", "not allowed"), ("scoring.miniBatchSize", 0, "is 0"),
    ("scoring.miniBatchSize", 1.5, "whole number"), ("scoring.miniBatchSize", True, "whole number"),
    ("compute.platform", "mainframe", "not a platform"), ("compute.platform", ["dsvm"], "must be text"),
    ("compute.sizes", [], "is a list"), ("compute.sizes", ["D2s"], "not allowed"),
    ("compute.sizes", "Standard_D2s_v5", "must be a list"), ("compute.regions", ["West Europe"], "not allowed"),
    ("compute.priority", "low", "not one of them"), ("compute.instances", 33, "is 33"),
    ("compute.instances", 10**17, "is 1000"), ("fanout.maxShards", 0, "is 0"), ("fanout.maxShards", 10_001, "is 10001"),
    ("fanout.attempts", 11, "is 11"), ("fanout.minSuccessRatio", 1.01, "is 1.01"),
    ("fanout.minSuccessRatio", "0.9", "must be a number"), ("fanout.minSuccessRatio", True, "must be a number"),
    ("limits.deadline", "PT0S", "out of range"), ("limits.deadline", "P8D", "out of range"),
    ("limits.ttl", "PT179M", "shorter than"), ("limits.ttl", "P9D", "out of range"),
    ("limits.budgetUsd", 0, "is 0"), ("limits.budgetUsd", float("inf"), "must be a number"),
    ("output.container", "Scores", "not allowed"), ("output.path", "flights/", "same for every run"),
    ("output.path", "flights/{slot}", "does not end"), ("output.path", "{slot}/{date}/", "not allowed"),
    ("output.path", "{slot.at}/{run}/", "not allowed"), ("output.path", "{slot}{/", "not allowed"),
    ("output.path", "../{slot}/", "`..`"), ("output.path", "/{slot}/", "slash"),
    ("output.path", "a b/{slot}/", "not allowed"),
    ("output.path", "%2e/{slot}/", "percent"), ("output.path", "a\\{slot}/", "backslash"),
    ("output", {"container": "landing", "path": "flights/{slot}/"}, "scored again"),
    ("output", {"container": "landing", "path": "flights/out/{slot}/"}, "scored again"),
    ("output", {"container": "landing", "path": "{slot}/"}, "scored again"),
    ("output", None, "must be a mapping"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "says"), REFUSED, ids=[f"{p}={v!r:.30}" for p, v, _ in REFUSED])
def test_a_wrong_value_is_refused_where_it_stands(path: str, value: object, says: str) -> None:
    fault = only_fault(changed(path, value))
    assert path.startswith(re.split(r"[\[]", fault.path)[0]) or fault.path.startswith(path)
    assert says in fault.message
    assert fault.line
    assert fault.column


TAKEN: list[tuple[str, object]] = [
    ("input.prefix", "vols de nuit/été 2013"), ("input.pattern", "**/part-[0-9]?.csv"), ("input.settle", "PT0S"),
    ("model.version", "2026.03.01-a"), ("output.path", "scores/slot={slot}/run={run}/"),
    ("output", {"container": "landing", "path": "scores/{slot}/"}), ("limits.ttl", "PT3H"), ("limits.budgetUsd", 0.5),
    ("limits.budgetUsd", None), ("fanout.minSuccessRatio", 1), ("schedule", None), ("scoring", None),
    ("input.container", "a1-b2"),
    ("schedule.timeZone", "Etc/GMT+5"), ("schedule.cron", "0   2 * *  mon-fri"), ("compute.regions", []),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), TAKEN, ids=[f"{p}={v!r:.30}" for p, v in TAKEN])
def test_what_is_unusual_but_right_is_taken(path: str, value: object) -> None:
    parse(changed(path, value))


def test_a_size_must_be_known_where_sizes_are() -> None:
    with pytest.raises(SpecErrors) as refused:
        parse_workload(
            WHOLE, source="w", platforms=PLATFORMS, sizes=["Standard_D2s_v3", "Standard_NC4as_T4_v3"]
        )
    (fault,) = refused.value.faults
    assert (fault.path, fault.hint) == ("compute.sizes[0]", "Did you mean Standard_D2s_v3?")


@pytest.mark.parametrize(
    ("key", "meant"), [("mini_batch_size", "miniBatchSize"), ("Entry", "entry"), ("codee", "code")]
)
def test_a_misspelt_key_is_recognised(key: str, meant: str) -> None:
    fault = next(f for f in faults_of(changed(f"scoring.{key}", 1)) if f.path == f"scoring.{key}")
    assert (fault.allowed, fault.hint) == ("code, entry, miniBatchSize", f"Did you mean {meant}?")


def test_faults_of_the_text_and_of_the_values_are_told_together() -> None:
    faults = faults_of(SHORT + "name: second-name\nschedule: {cron: '61 * * * *'}\n")
    assert [(f.path, f.line) for f in faults] == [("name", 7), ("schedule.cron", 8)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = ["kind", "name", "schedule", "input", "model", "scoring", "compute", "fanout", "limits", "output"]


@given(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=3), st.sampled_from(KEYS), st.text(max_size=30))
def test_whatever_is_declared_is_read_or_refused_with_a_reason(
    parts: dict[str, Any], key: str, text: str
) -> None:
    declared = yaml.safe_load(WHOLE) | parts
    for candidate in (yaml.safe_dump(declared, allow_unicode=True), f"{WHOLE}{key}: {text}", text):
        try:
            parse(candidate)
        except SpecErrors as error:
            assert error.faults
            assert all(fault.message for fault in error.faults)


def test_the_schema_takes_what_the_parser_takes() -> None:
    schema = workload_schema(PLATFORMS)
    jsonschema.Draft202012Validator.check_schema(schema)
    for text in (WHOLE, SHORT, *(changed(path, value) for path, value in TAKEN)):
        jsonschema.validate(yaml.safe_load(text), schema)
    for workload in (parse(WHOLE), parse(SHORT)):
        jsonschema.validate(workload.model_dump(mode="json", by_alias=True), schema)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("input.container", "a--b"), ("input.container", "ab"), ("input.prefix", ""), ("name", "Flights"),
        ("compute.platform", "mainframe"), ("scoring.code", "../secrets"), ("scoring.entry", "score.sh"),
        ("fanout.attempts", 0), ("compute.instances", 33), ("compute.priority", "low"), ("limits.deadline", "3h"),
        ("limits.budgetUsd", -1), ("schedule.misfire", "never"), ("model", "churn"), ("output.path", None),
    ],
)  # fmt: skip
def test_an_editor_sees_what_the_parser_would_refuse(path: str, value: object) -> None:
    text = changed(path, value)
    assert faults_of(text)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), workload_schema(PLATFORMS))


def test_the_schema_refuses_unknown_keys_everywhere() -> None:
    schema = workload_schema(PLATFORMS)
    for path in ("extra", "schedule.extra", "input.extra", "compute.extra", "limits.extra", "output.extra"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(yaml.safe_load(changed(path, 1)), schema)


@pytest.mark.parametrize("path", ["input.container", "output.container"])
def test_the_apps_own_records_are_nobodys_data(path: str) -> None:
    text = changed(path, "muster")
    with pytest.raises(SpecErrors) as refused:
        parse_workload(text, source="w.yaml", platforms=PLATFORMS, state_container="muster")
    (fault,) = refused.value.faults
    assert (fault.path, fault.message) == (path, "'muster' holds the app's own records")
    assert parse_workload(text, source="w.yaml", platforms=PLATFORMS, state_container="other")
