"""Deployments asked before they have traffic, as the orchestrator does: real servers, on this machine."""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from activities import probes
from activities.probes import run_probe
from node.serving import collector
from shared.azure import blob, ledger
from shared.config import settings
from shared.domain.deploy import DeployRequest, ProbeKind, ProbeReport, ProbeRequest
from shared.domain.deployment import Deployment
from shared.domain.errors import SpecError, SpecErrors, TransientError
from shared.platforms import platforms
from tests.platforms.serving import Rollout, a_model
from tests.support.cloud import Cloud

GOOD, WRONG, FLAKY = "d0000001", "d0000002", "d0000003"
VERSIONS = {GOOD: "good", WRONG: "wrong", FLAKY: "flaky"}


def _answer(hour: int) -> float:
    return 1 / (1 + math.exp((12 - hour) / 4))


def _golden(*hours: int, shift: float = 0.0) -> bytes:
    lines = [
        {
            "input": {"distance": 100.0, "hour": hour},
            "expect": {"value": _answer(hour) + shift, "tolerance": 0.01},
        }
        for hour in hours
    ]
    return "\n".join(map(json.dumps, lines)).encode()


@pytest.fixture(scope="module")
def endpoint(inhabited: Cloud) -> Iterator[Rollout]:
    """Three deployments of models that behave as their names say, none with traffic."""
    rollout = Rollout(inhabited, platforms()["local"])
    rollout.make_endpoint()
    for name, version in VERSIONS.items():
        model, _ = a_model(version, deed=version, every=7)
        blob.create_only("models", f"{model.prefix}golden.jsonl", _golden(1, 12, 23))
        rollout.server.begin_deployment(rollout.plan(name, model=model))
    for name, version in VERSIONS.items():
        assert (
            rollout.over(rollout.plan(name, model=a_model(version, deed=version, every=7)[0])).instances == 1
        )
    yield rollout
    for path in (settings().local_work / ".endpoints" / rollout.endpoint).rglob("process.json"):
        os.killpg(json.loads(path.read_text())["pid"], signal.SIGKILL)


def _request(endpoint: str, golden: str | None = None, **load: Any) -> DeployRequest:
    declared = {
        "name": "flights-live",
        "model": {"name": "served"},
        "target": {"platform": "local", "endpoint": endpoint},
        "tests": {"load": {"requests": 40, "concurrency": 4, "p95": "PT3S", **load}, "golden": golden},
    }
    slot = f"manual-{uuid.uuid4().hex[:16]}"
    return DeployRequest(
        run=f"deploy-flights-live-{slot}",
        slot=slot,
        workload=Deployment.model_validate(declared),
        started_by="test",
    )


def _probe(kind: ProbeKind, request: DeployRequest, deployment: str = GOOD) -> ProbeRequest:
    version = VERSIONS.get(deployment, "good")
    return ProbeRequest(
        kind=kind, request=request, deployment=deployment, model=a_model(version, deed=version, every=7)[0]
    )


def ask(kind: ProbeKind, endpoint: Rollout, deployment: str = GOOD) -> ProbeReport:
    return run_probe(_probe(kind, _request(endpoint.endpoint), deployment))


@pytest.mark.parametrize(("kind", "requests"), [("contract", 12), ("golden", 3), ("load", 40)])
def test_a_good_model_passes_and_the_evidence_is_on_record(
    cloud: Cloud, endpoint: Rollout, kind: ProbeKind, requests: int
) -> None:
    report = ask(ProbeKind(kind), endpoint)
    assert (report.ok, report.requests, report.more) == (True, requests, False), report
    assert report.evidence is not None
    evidence = blob.read(report.evidence.container, report.evidence.blob)
    assert hashlib.sha256(evidence).hexdigest() == report.evidence.sha256
    assert json.loads(evidence)["rows"]


def test_a_wrong_model_keeps_the_contract_and_fails_its_golden_answers(
    cloud: Cloud, endpoint: Rollout
) -> None:
    assert ask(ProbeKind.CONTRACT, endpoint, WRONG).ok
    report = ask(ProbeKind.GOLDEN, endpoint, WRONG)
    assert not report.ok
    assert [row.ok for row in report.rows] == [False, False, True]  # at noon wrong is right
    assert report.reason.startswith(
        'golden.jsonl:1 {"distance": 100.0, "hour": 1}: 0.939913, 0.0600867 ± 0.01'
    )


def test_a_flaky_model_fails_under_load_by_its_rate_of_errors(cloud: Cloud, endpoint: Rollout) -> None:
    report = ask(ProbeKind.LOAD, endpoint, FLAKY)
    assert not report.ok
    assert report.error_rate is not None and report.error_rate > 0
    assert "connection to the feature store was reset" in report.reason


def test_a_probe_that_was_judged_is_not_run_again(cloud: Cloud, endpoint: Rollout) -> None:
    request = _request(endpoint.endpoint)
    first = run_probe(_probe(ProbeKind.LOAD, request))
    target = request.workload.target.model_copy(update={"endpoint": "ep-nowhere"})
    elsewhere = request.model_copy(
        update={"workload": request.workload.model_copy(update={"target": target})}
    )
    assert run_probe(_probe(ProbeKind.LOAD, elsewhere)) == first


def test_a_long_load_test_goes_on_where_it_was(cloud: Cloud, endpoint: Rollout) -> None:
    request = _request(endpoint.endpoint, maxErrorRate=0.5)
    part = {"requests": 35, "latencies_ms": [9.0] * 20, "seconds": 30.0, "faults": {"504: late": 15}}
    ledger.claim(f"deployments/{request.run}/probes/load-{GOOD}-1/0000.json", part)
    report = run_probe(_probe(ProbeKind.LOAD, request))
    assert (report.ok, report.requests, report.error_rate) == (True, 40, 15 / 40)
    assert len(ledger.list_paths(f"deployments/{request.run}/probes/load-{GOOD}-1/")) == 2


def test_a_load_test_that_cannot_pass_any_more_sends_nothing(cloud: Cloud, endpoint: Rollout) -> None:
    request = _request(endpoint.endpoint)
    part = {"requests": 5, "latencies_ms": [9.0] * 4, "seconds": 3.0, "faults": {"500: no": 1}}
    ledger.claim(f"deployments/{request.run}/probes/load-{GOOD}-1/0000.json", part)
    report = run_probe(_probe(ProbeKind.LOAD, request))
    assert (report.ok, report.requests, report.more) == (False, 5, False)


def test_a_deployment_that_is_not_reached_is_waited_for(cloud: Cloud, endpoint: Rollout) -> None:
    with pytest.raises(TransientError) as caught:
        ask(ProbeKind.CONTRACT, endpoint, "d0000009")
    assert (caught.value.code, caught.value.retry_after_s) == ("NotReached", 10)


def test_both_golden_files_count_and_stay_what_they_were_at_the_start(
    cloud: Cloud, endpoint: Rollout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.jsonl").write_bytes(_golden(6))
    request = _request(endpoint.endpoint, "policy.jsonl")
    assert run_probe(_probe(ProbeKind.CONTRACT, request)).ok
    (tmp_path / "policy.jsonl").write_bytes(_golden(6, shift=0.5))
    report = run_probe(_probe(ProbeKind.GOLDEN, request))
    assert (report.ok, report.requests) == (True, 4)
    frozen = ledger.read(f"deployments/{request.run}/golden.json") or []
    assert [(each["source"], each["sha256"]) for each in frozen] == [
        ("policy.jsonl", hashlib.sha256(_golden(6)).hexdigest()),
        ("golden.jsonl", hashlib.sha256(_golden(1, 12, 23)).hexdigest()),
    ]
    again = _request(endpoint.endpoint, "policy.jsonl")
    assert not run_probe(_probe(ProbeKind.GOLDEN, again)).ok


def test_a_golden_file_that_is_missing_or_faulty_stops_at_once(
    cloud: Cloud, endpoint: Rollout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    request = _request(endpoint.endpoint, "policy.jsonl")
    with pytest.raises(SpecError, match=r"policy.jsonl is not in the deployed app"):
        run_probe(_probe(ProbeKind.GOLDEN, request))
    (tmp_path / "policy.jsonl").write_text('{"input": {"hour": 1}, "expect": {"value": "late"}}\n{}')
    with pytest.raises(SpecErrors) as caught:
        run_probe(_probe(ProbeKind.GOLDEN, request))
    assert [(fault.line, fault.path) for fault in caught.value.faults] == [
        (1, "input.distance"), (1, "expect.value"), (2, ""),
    ]  # fmt: skip
    assert ledger.read(f"deployments/{request.run}/golden.json") is None


def test_without_golden_answers_the_test_says_that_it_was_skipped(cloud: Cloud, endpoint: Rollout) -> None:
    model, _ = a_model("bare")
    report = run_probe(
        ProbeRequest(kind=ProbeKind.GOLDEN, request=_request(endpoint.endpoint), deployment=GOOD, model=model)
    )
    assert report.ok
    assert report.skipped.startswith("there are no golden answers")


def test_what_tests_ask_is_never_collected() -> None:
    assert probes.PROBE_ID == collector.PROBE
