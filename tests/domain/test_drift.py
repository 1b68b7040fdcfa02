"""A monitor of drift is declared whole or refused; a measurement is judged by its worst feature and told as one fact."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.drift import (
    SHOWN,
    DriftMonitor,
    DriftReport,
    FeatureDrift,
    Measurement,
    drift_event,
    judge_features,
    told,
)
from shared.domain.errors import JobFailed, SpecErrors
from shared.domain.ml_events import listeners
from shared.domain.workload import parse_workload, workload_schema
from tests.support.drifts import drift_monitor, parsed, request

AT = datetime(2026, 3, 1, 2, 10, tzinfo=UTC)
DOCS = Path(__file__).resolve().parents[2] / "docs" / "add-a-workload.md"


def monitor(**changes: Any) -> DriftMonitor:
    return parsed(drift_monitor("flights-drift", **changes))


def features(**psi: float | None) -> tuple[FeatureDrift, ...]:
    return tuple(FeatureDrift(name=name, psi=value, js=value, rows_target=9) for name, value in psi.items())


REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("both ends", {"reference": {"newest": 3, "oldest": 3}}, "reference", "both `newest` and `oldest`"),
    ("no target size", {"target": {"newest": None}}, "target.newest", "whole number"),
    ("more than one machine can fetch", {"target": {"newest": 50_001}}, "target.newest", "50000"),
    ("zero", {"threshold": 0}, "threshold", "more than 0"),
    ("yes for a number", {"threshold": True}, "threshold", "number"),
    ("never reached", {"metric": "ks", "threshold": 1.5}, "threshold", "ks is at most 1"),
    ("unknown metric", {"metric": "wasserstein"}, "metric", "psi"),
    ("a feature twice", {"features": ["hour", "hour"]}, "features", "twice"),
    ("no feature", {"features": []}, "features", "at least 1"),
    ("two machines", {"compute": {"instances": 2}}, "compute", "one machine"),
    ("the app's own records", {"reference": {"container": "muster"}}, "reference.container", "own records"),
    ("a typo", {"treshold": 0.3}, "treshold", "threshold"),
]  # fmt: skip


def test_a_declaration_is_read_and_psi_is_the_metric_by_default() -> None:
    declared = drift_monitor("flights-drift", schedule={"cron": "0 4 * * *"}, features=["hour", "carrier"])
    del declared["metric"]

    found = parsed(declared)

    assert (found.metric, found.threshold, found.features) == ("psi", 0.25, ("hour", "carrier"))
    assert found.schedule is not None and found.compute.instances == 1


@pytest.mark.parametrize(("changes", "path", "said"), [c[1:] for c in REFUSED], ids=[c[0] for c in REFUSED])
def test_what_cannot_be_meant_is_refused_where_it_stands(
    changes: dict[str, Any], path: str, said: str
) -> None:
    with pytest.raises(SpecErrors) as refused:
        monitor(**changes)

    (fault,) = refused.value.faults
    assert fault.path == path
    assert said in str(fault)


def test_psi_has_no_upper_end() -> None:
    assert monitor(threshold=3).threshold == 3


@pytest.mark.parametrize("by_alias", [True, False])
def test_it_comes_back_from_a_history_as_it_was(by_alias: bool) -> None:
    found = monitor(metric="jensenShannon", features=["hour"])
    wire = json.loads(json.dumps(found.model_dump(mode="json", by_alias=by_alias)))

    assert DriftMonitor.model_validate({**wire, "newInV9": 1}) == found


def test_the_schema_takes_what_the_parser_takes() -> None:
    schema = workload_schema(("local",))
    jsonschema.validate(drift_monitor("flights-drift"), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(drift_monitor("flights-drift", metric="wasserstein"), schema)


def test_the_example_in_the_docs_is_valid() -> None:
    blocks = [block.split("```")[0] for block in DOCS.read_text().split("```yaml\n")[1:]]
    (example,) = [block for block in blocks if yaml.safe_load(block).get("kind") == "DriftMonitor"]
    assert parse_workload(example, source="docs", platforms=("dsvm",)).kind == "DriftMonitor"


def test_the_worst_feature_by_the_declared_metric_counts() -> None:
    found = (
        FeatureDrift(name="hour", psi=0.1, ks=0.4, js=0.2),
        FeatureDrift(name="month", psi=0.3, ks=0.2, js=0.1),
    )

    measured = {metric: judge_features(found, monitor(metric=metric)) for metric in ("psi", "ks")}

    assert {metric: (m.feature, m.coefficient) for metric, m in measured.items()} == {
        "psi": ("month", 0.3),
        "ks": ("hour", 0.4),
    }
    assert [each.name for each in measured["psi"].features] == ["month", "hour"]


@given(st.dictionaries(st.text("abc", min_size=1), st.floats(0, 50) | st.none(), min_size=1, max_size=40))
def test_no_feature_is_worse_than_the_one_that_is_named(values: dict[str, float | None]) -> None:
    known = {name: value for name, value in values.items() if value is not None}
    if not known:
        with pytest.raises(JobFailed, match="nothing was measured"):
            judge_features(features(**values), monitor())
        return

    measured = judge_features(features(**values), monitor())

    assert measured.coefficient == max(known.values()) == known[measured.feature]
    assert (measured.measured, measured.without) == (len(known), len(values) - len(known))
    assert len(measured.features) == min(len(values), SHOWN)


def test_a_declared_feature_that_could_not_be_measured_fails_the_run_and_says_why() -> None:
    found = (*features(hour=0.1), FeatureDrift(name="carrier", error="the files' types differ: string, int"))

    with pytest.raises(JobFailed, match=r"carrier: declared .* types differ"):
        judge_features(found, monitor(features=["hour", "carrier"]))
    assert judge_features(found, monitor()).without == 1


def test_a_value_that_is_no_number_is_no_measurement() -> None:
    with pytest.raises(ValueError, match="finite"):
        FeatureDrift.model_validate({"name": "hour", "psi": float("nan")})


def test_however_many_and_long_the_columns_are_it_crosses_the_boundary() -> None:
    found = tuple(FeatureDrift(name=f"{n:03d}" + "x" * 500, psi=0.1, error="e" * 5000) for n in range(500))
    assert len(judge_features(found, monitor()).model_dump_json()) < 12_000


def _report(coefficient: float, **changes: Any) -> DriftReport:
    measured = Measurement(coefficient=coefficient, feature="month", measured=3)
    return DriftReport(request=request(monitor(**changes)), measurement=measured, at=AT)


def test_a_measurement_is_one_fact_of_its_run_and_not_our_own_doing() -> None:
    event, again = drift_event(_report(0.41)), drift_event(_report(0.2))

    assert (event.monitor, event.coefficient, event.threshold) == ("flights-drift", 0.41, 0.25)
    assert event.caused_by == event.run == "drift-flights-drift-20260301T020000Z"
    assert event.occurred == AT and not event.is_own and not event.run_status
    assert event.key == again.key, "a step that is repeated must find the fact on record"


def test_only_the_workloads_that_name_the_monitor_hear_it() -> None:
    monitors = [("here", "flights-drift"), ("there", "flights-monitor"), ("wider", "flights")]
    assert listeners(drift_event(_report(0.41)), monitors) == ("here",)


@pytest.mark.parametrize(("coefficient", "said"), [(0.25, "and reaches"), (0.24, "under")])
def test_what_is_told_says_on_which_side_of_the_threshold_it_is(coefficient: float, said: str) -> None:
    report = _report(coefficient)
    text = told(report.request.workload, report.measurement)
    assert text == f"psi of month is {coefficient:g} {said} the threshold 0.25"
