"""Asking a deployment by name before it has traffic: contract, golden answers, load. What was found is on record once.

A probe lasts at most an activity's minute. A load test that is longer goes on with the next call: each call leaves its
part on record, and the last one judges them together.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from itertools import cycle, islice
from typing import Any

from shared.azure import golden_files, ledger
from shared.azure.scoring_client import ScoringClient
from shared.config import settings
from shared.domain import probes
from shared.domain.deploy import ProbeKind, ProbeReport, ProbeRequest, ProbeRow
from shared.domain.errors import TransientError
from shared.domain.golden import Golden, Signature, read_signature
from shared.domain.jobs import BlobRef
from shared.domain.probes import Answer, LoadPart
from shared.durable import contracts
from shared.durable.blueprint import activity
from shared.platforms import platform

PART_S = 35.0  # of sending; what is under way then still ends in time
LONGEST_ANSWER_S = 15.0
GOLDEN_AT_ONCE = 4
NOT_YET = (
    0,
    404,
    429,
    502,
    503,
    504,
)  # the endpoint's own answers while a route to a deployment is being made
PROBE_ID = "muster-probe-"  # requests under such an id are not collected: node/serving/collector.py


@activity(contracts.RUN_PROBE)
def run_probe(probe: ProbeRequest) -> ProbeReport:
    """Run one kind of test, or the next part of it, and judge it. Called again, it gives what was found the first time.

    Raises TransientError while the endpoint does not pass requests on to the deployment, SpecErrors for golden files
    that cannot be read.
    """
    path = f"{_folder(probe)}.json"
    if not ledger.exists(path):
        report, evidence = _run(probe)
        if report.more:
            return report
        ledger.claim(path, {"report": report.model_dump(mode="json"), **evidence})
    found = ledger.read(path) or {}
    reference = BlobRef(
        container=settings().state_container,
        blob=path,
        sha256=hashlib.sha256(ledger.encode(found)).hexdigest(),
    )
    return ProbeReport.model_validate(found["report"]).model_copy(update={"evidence": reference})


def _run(probe: ProbeRequest) -> tuple[ProbeReport, dict[str, Any]]:
    card = golden_files.card_of(probe.model)
    signature = read_signature(card)
    goldens = golden_files.freeze(probe.request, probe.model)
    with _client(probe) as client:
        ask = partial(_ask, client, probe.deployment)
        match probe.kind:
            case ProbeKind.CONTRACT:
                return _contract(signature, probes.sample_of(signature, goldens, card.get("example")), ask)
            case ProbeKind.GOLDEN:
                return _golden(signature, goldens, ask)
            case ProbeKind.LOAD:
                inputs = [golden.input for golden in goldens] or [
                    probes.sample_of(signature, (), card.get("example"))
                ]
                return _load(probe, signature, [probes.ask_rows(signature, [row]) for row in inputs], ask)


def _contract(
    signature: Signature, sample: dict[str, Any], ask: Callable[[bytes], Answer]
) -> tuple[ProbeReport, dict[str, Any]]:
    questions = probes.contract_questions(signature, sample)
    answers = _asked([question.body for question in questions], ask, at_once=1)
    rows = probes.judge_contract(signature, questions, answers)
    return probes.report(ProbeKind.CONTRACT, rows, len(questions)), _evidence(rows)


def _golden(
    signature: Signature, goldens: Sequence[Golden], ask: Callable[[bytes], Answer]
) -> tuple[ProbeReport, dict[str, Any]]:
    if not goldens:
        skipped = "there are no golden answers: neither tests.golden nor a golden.jsonl beside the model"
        return ProbeReport(kind=ProbeKind.GOLDEN, ok=True, skipped=skipped), {}
    bodies = [probes.ask_rows(signature, [golden.input]) for golden in goldens]
    rows = probes.judge_golden(signature, goldens, _asked(bodies, ask, at_once=GOLDEN_AT_ONCE))
    return probes.report(ProbeKind.GOLDEN, rows, len(rows)), _evidence(rows)


def _load(
    probe: ProbeRequest, signature: Signature, bodies: Sequence[bytes], ask: Callable[[bytes], Answer]
) -> tuple[ProbeReport, dict[str, Any]]:
    policy = probe.request.workload.tests.load
    before = _parts(probe)
    done = probes.merge_load(before)
    if left := probes.requests_left(policy, done):
        began = time.perf_counter()
        chosen = islice(cycle(bodies), done.requests, done.requests + left)
        answers = _in_time(list(chosen), ask, policy.concurrency)
        asked = [answer for answer in answers if answer is not None]
        part = probes.load_part(signature, asked, time.perf_counter() - began)
        ledger.claim(f"{_folder(probe)}/{len(before):04d}.json", asdict(part))
        done = probes.merge_load(_parts(probe))
    rows = probes.judge_load(policy, done)
    report = probes.report(
        ProbeKind.LOAD, rows, done.requests,
        p50_ms=probes.percentile(done.latencies_ms, 0.50), p95_ms=probes.percentile(done.latencies_ms, 0.95),
        p99_ms=probes.percentile(done.latencies_ms, 0.99), per_s=probes.rate_per_s(done),
        error_rate=probes.error_rate(done),
    )  # fmt: skip
    more = probes.requests_left(policy, done) > 0
    return report.model_copy(update={"more": more}), {**_evidence(rows), "load": asdict(done)}


def _parts(probe: ProbeRequest) -> list[LoadPart]:
    found = (ledger.read(path) for path in ledger.list_paths(f"{_folder(probe)}/"))
    return [LoadPart(**{**part, "latencies_ms": tuple(part["latencies_ms"])}) for part in found if part]


def _folder(probe: ProbeRequest) -> str:
    name = f"{probe.kind}-{probe.deployment}-{probe.attempt}"
    return f"deployments/{probe.request.run}/{probe.folder}/{name}"


def _evidence(rows: Sequence[ProbeRow]) -> dict[str, Any]:
    return {"rows": [row.model_dump(mode="json") for row in rows]}


def _client(probe: ProbeRequest) -> ScoringClient:
    workload = probe.request.workload
    access = platform(probe.request.platform).serving.scoring_access(probe.request.endpoint)
    patience_s = min(workload.resources.request_timeout.total_seconds() + 1, LONGEST_ANSWER_S)
    headers = {**access.headers, "x-ms-client-request-id": f"{PROBE_ID}{probe.kind}"}
    return ScoringClient(
        access.uri,
        headers,
        timeout_s=patience_s,
        connections=max(workload.tests.load.concurrency, GOLDEN_AT_ONCE),
    )


def _ask(client: ScoringClient, deployment: str, body: bytes) -> Answer:
    found = client.score(body, deployment=deployment)
    status = found.status if found.model_status is None else found.model_status
    # azureml-fe makes 502 of a model's own 500, and leaves its words
    is_reached = found.model_status is not None or found.status not in NOT_YET or probes.is_models(found.body)
    return Answer(status, found.body, found.latency_s * 1000, found.error, is_reached)


def _asked(bodies: Sequence[bytes], ask: Callable[[bytes], Answer], *, at_once: int) -> list[Answer]:
    """All answers, in order. What is not asked in time counts as not answered.

    Raises TransientError if the first, which is a plain one, does not even reach the model.
    """
    first = ask(bodies[0])
    if not first.is_reached:
        said = first.error or f"{first.status}: {probes.said(first)}"
        raise TransientError(
            f"the deployment is not reached yet: {said}", code="NotReached", retry_after_s=10
        )
    not_asked = Answer(0, error=f"not asked: {PART_S:.0f} s were over")
    return [first, *(answer or not_asked for answer in _in_time(bodies[1:], ask, at_once))]


def _in_time(bodies: Sequence[bytes], ask: Callable[[bytes], Answer], at_once: int) -> list[Answer | None]:
    """The answers, in order; None for what was not asked within PART_S."""
    until = time.monotonic() + PART_S

    def asked(body: bytes) -> Answer | None:
        return ask(body) if time.monotonic() < until else None

    with ThreadPoolExecutor(at_once) as clients:
        return list(clients.map(asked, bodies))
