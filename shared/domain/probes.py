"""What a deployment is asked before it has traffic, and how its answers are judged. Each judgement is a row to read.

Contract: valid requests are answered, malformed ones are the client's fault (400, 413) and never the model's (500).
Golden: known inputs give known answers, within a tolerance. Load: so many requests, so many at once, p95 and errors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from shared.domain.deploy import ProbeKind, ProbeReport, ProbeRow
from shared.domain.deployment import LoadTest
from shared.domain.golden import Golden, Signature

MAX_BODY = 1024 * 1024  # of the serving contract: more is refused with 413
MOST_ROWS = 20  # of a report; the whole is in its evidence
_MOST_SHOWN = 120
_MADE_UP: dict[str, Any] = {"double": 1.0, "long": 1, "string": "a", "boolean": True}
_WRONG: dict[str, Any] = {"double": "far", "long": "late", "string": 17, "boolean": "yes"}

type Value = float | str | bool


@dataclass(frozen=True)
class Answer:
    """What came back of one question. `status` is the model's own; 0: nothing came, and `error` says why.

    `is_reached`: whether it was the model that answered, and not the endpoint before it.
    """

    status: int
    body: bytes = b""
    latency_ms: float = 0.0
    error: str = ""
    is_reached: bool = True


@dataclass(frozen=True)
class Question:
    """A request, and what its answer must be: `statuses`, and with 200 the predictions of so many `rows`."""

    what: str
    body: bytes
    statuses: tuple[int, ...] = (200,)
    rows: int = 0


def ask_rows(signature: Signature, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> bytes:
    """A request's body, its columns in the card's order or in another."""
    columns = columns or [name for name, _ in signature.inputs]
    data = [[row[name] for name in columns] for row in rows]
    return _encoded({"input_data": {"columns": list(columns), "data": data}})


def sample_of(
    signature: Signature, goldens: Sequence[Golden], example: Mapping[str, Any] | None
) -> dict[str, Any]:
    """A row that any honest version answers: a golden one, else the card's example, else made up by type."""
    if goldens:
        return dict(goldens[0].input)
    if example and all(name in example for name, _ in signature.inputs):
        return {name: example[name] for name, _ in signature.inputs}
    return {name: _MADE_UP[kind] for name, kind in signature.inputs}


def contract_questions(signature: Signature, sample: Mapping[str, Any]) -> tuple[Question, ...]:
    """The first is the plainest of all; the second and third must answer as it does."""
    names = [name for name, _ in signature.inputs]
    first, kind = signature.inputs[0]
    fewer = [name for name in names if name != first]
    values = [sample[name] for name in names]
    wrong = ask_rows(signature, [{**sample, first: _WRONG[kind]}])
    return (
        Question("a valid row", ask_rows(signature, [sample]), rows=1),
        Question("three valid rows", ask_rows(signature, [sample] * 3), rows=3),
        Question("its columns in another order", ask_rows(signature, [sample], names[::-1]), rows=1),
        Question("without a column", _encoded({"input_data": {
            "columns": fewer, "data": [[sample[name] for name in fewer]]}}), (400,)),
        Question("with a column too many", _encoded({"input_data": {
            "columns": [*names, "muster_no_such_column"], "data": [[*values, 1]]}}), (400,)),
        Question(f"{first} of a wrong type", wrong, (400,)),
        Question(f"{first} null", ask_rows(signature, [{**sample, first: None}]), (400,)),
        *_not_a_number(signature, sample),
        Question("no rows", ask_rows(signature, []), (400,)),
        Question("another shape", b"[1, 2, 3]", (400,)),
        Question("not JSON", b'{"input_data":', (400,)),
        Question("more than 1 MiB", b" " * (MAX_BODY + 1), (413,)),
    )  # fmt: skip


def _not_a_number(signature: Signature, sample: Mapping[str, Any]) -> Iterable[Question]:
    for name, kind in signature.inputs:
        if kind in ("double", "long"):
            body = ask_rows(signature, [{**sample, name: math.nan}])
            return (Question(f"{name} NaN", body, (400,)),)
    return ()


def judge_contract(
    signature: Signature, questions: Sequence[Question], answers: Sequence[Answer]
) -> tuple[ProbeRow, ...]:
    rows = [_contract_row(signature, q, a) for q, a in zip(questions, answers, strict=True)]
    firsts = [predictions_of(answer, signature, question.rows) for question, answer in
              zip(questions[:3], answers[:3], strict=True)]  # fmt: skip
    if all(isinstance(each, tuple) for each in firsts):
        told = {_number_text(value) for value in chain.from_iterable(firsts)}
        rows.append(
            ProbeRow(
                what="the same row, asked in three ways",
                value=", ".join(sorted(told)),
                rule="one answer",
                ok=_agree([value for each in firsts for value in each]),
                why=""
                if len(told) == 1
                else "an answer depends on what else was asked, or on the columns' order",
            )
        )
    return tuple(rows)


def _contract_row(signature: Signature, question: Question, answer: Answer) -> ProbeRow:
    rule = " or ".join(map(str, question.statuses)) + (", finite predictions" if question.rows else "")
    fault = ""
    if answer.status not in question.statuses:
        fault = answer.error or said(answer)
    elif question.rows and isinstance(found := predictions_of(answer, signature, question.rows), str):
        fault = found
    return ProbeRow(
        what=question.what, value=_status_text(answer), rule=rule, ok=not fault, why=fault[:_MOST_SHOWN]
    )


def judge_golden(
    signature: Signature, goldens: Sequence[Golden], answers: Sequence[Answer]
) -> tuple[ProbeRow, ...]:
    """A row for each golden line. Missing and infinite answers, and NaN, fail whatever was expected."""
    return tuple(_golden_row(signature, g, a) for g, a in zip(goldens, answers, strict=True))


def _golden_row(signature: Signature, golden: Golden, answer: Answer) -> ProbeRow:
    what = f"{golden.source} {json.dumps(golden.input)}"
    found = predictions_of(answer, signature, 1)
    if isinstance(found, str):
        return ProbeRow(
            what=what[:_MOST_SHOWN],
            value=_status_text(answer),
            rule=golden.rule,
            ok=False,
            why=found[:_MOST_SHOWN],
        )
    ok = golden.allows(found[0])
    value = _number_text(found[0])
    return ProbeRow(
        what=what[:_MOST_SHOWN], value=value, rule=golden.rule, ok=ok, why="" if ok else "not as expected"
    )


@dataclass(frozen=True)
class LoadPart:
    """Some of a load test's requests: how long the good ones took, how many there were, and why others were not."""

    requests: int
    latencies_ms: tuple[float, ...]
    seconds: float
    faults: Mapping[str, int]

    @property
    def errors(self) -> int:
        return self.requests - len(self.latencies_ms)


def load_part(signature: Signature, answers: Sequence[Answer], seconds: float) -> LoadPart:
    """What a part of the test came to. A good status with an answer that is none is an error too."""
    latencies, faults = [], dict[str, int]()
    for answer in answers:
        found = predictions_of(answer, signature, 1)
        if isinstance(found, str):
            reason = f"{_status_text(answer)}: {found}"[:_MOST_SHOWN]
            reason = reason if reason in faults or len(faults) < MOST_ROWS else "others"
            faults[reason] = faults.get(reason, 0) + 1
        else:
            latencies.append(round(answer.latency_ms, 3))
    return LoadPart(len(answers), tuple(latencies), seconds, faults)


def merge_load(parts: Sequence[LoadPart]) -> LoadPart:
    faults = dict[str, int]()
    for reason, count in chain.from_iterable(part.faults.items() for part in parts):
        faults[reason] = faults.get(reason, 0) + count
    return LoadPart(
        sum(part.requests for part in parts),
        tuple(chain.from_iterable(part.latencies_ms for part in parts)),
        sum(part.seconds for part in parts),
        faults,
    )


def requests_left(policy: LoadTest, done: LoadPart) -> int:
    """How many are still to be sent: none once the bounds cannot be met any more."""
    slow = sum(latency > _bound_ms(policy) for latency in done.latencies_ms)
    if done.errors > policy.max_error_rate * policy.requests or slow > 0.05 * policy.requests:
        return 0
    return max(0, policy.requests - done.requests)


def judge_load(policy: LoadTest, done: LoadPart) -> tuple[ProbeRow, ...]:
    p95 = percentile(done.latencies_ms, 0.95)
    bound = _bound_ms(policy)
    rate = error_rate(done)
    worst = max(done.faults, key=lambda reason: done.faults[reason], default="")
    return (
        ProbeRow(
            what="p95 of the answers",
            value="none" if p95 is None else f"{p95:.1f} ms",
            rule=f"<= {bound:.0f} ms",
            ok=p95 is not None and p95 <= bound,
            why="no request was answered" if p95 is None else "",
        ),
        ProbeRow(
            what="requests without a good answer",
            value=f"{done.errors} of {done.requests}",
            rule=f"<= {policy.max_error_rate:.1%}",
            ok=rate is not None and rate <= policy.max_error_rate,
            why=worst,
        ),
        ProbeRow(
            what=f"requests, {policy.concurrency} at once",
            value=f"{done.requests}, {done.requests / done.seconds:.0f} a second" if done.seconds else "0",
            rule=f"{policy.requests}",
            ok=done.requests >= policy.requests,
            why="" if done.requests >= policy.requests else "given up: the bounds could not be met any more",
        ),
    )


def error_rate(done: LoadPart) -> float | None:
    return done.errors / done.requests if done.requests else None


def rate_per_s(done: LoadPart) -> float | None:
    """Good answers a second; None where no time passed."""
    return round(len(done.latencies_ms) / done.seconds, 3) if done.seconds > 0 else None


def percentile(values: Sequence[float], share: float) -> float | None:
    """By the nearest rank: `percentile(1..100, 0.95) -> 95`."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def report(kind: ProbeKind, rows: Sequence[ProbeRow], requests: int, **facts: Any) -> ProbeReport:
    """Failures first, and no more rows than a history should hold."""
    failed = [row for row in rows if not row.ok]
    ordered = [*failed, *(row for row in rows if row.ok)]
    first = failed[0] if failed else None
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    reason = f"{first.what}: {first.value}, {first.rule} is required{_because(first)}{more}" if first else ""
    return ProbeReport(
        kind=kind, ok=not failed, reason=reason, rows=tuple(ordered[:MOST_ROWS]), requests=requests, **facts
    )


def _because(row: ProbeRow) -> str:
    return f": {row.why}" if row.why else ""


def predictions_of(answer: Answer, signature: Signature, rows: int) -> tuple[Value, ...] | str:
    """The predictions of `rows` rows, or what is wrong with the answer."""
    if answer.status != 200:
        return answer.error or said(answer)
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        return f"the answer is not JSON: {answer.body[:40]!r}"
    values = document.get("predictions") if isinstance(document, dict) else None
    if not isinstance(values, list):
        return "the answer has no list `predictions`"
    if len(values) != rows:
        return f"{len(values)} predictions for {rows} rows"
    if bad := [value for value in values if not signature.may_be(value)]:
        return f"{json.dumps(bad[0])[:40]} is no finite {signature.output}"
    return tuple(values)


def said(answer: Answer) -> str:
    """What the answer's body says, shortly: `message` where there is one."""
    text = _message(answer.body) or answer.body.decode(errors="replace").strip() or "no more was said"
    return text[:_MOST_SHOWN]


def is_models(body: bytes) -> bool:
    """Whether an error is in the words of a scoring server, Azure ML's or ours, and not in an endpoint's."""
    return bool(_message(body))


def _message(body: bytes) -> str:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    return str(document.get("message") or "") if isinstance(document, dict) else ""


def _status_text(answer: Answer) -> str:
    return str(answer.status) if answer.status else "no answer"


def _agree(values: Sequence[Value]) -> bool:
    """Whether all are one answer; doubles may differ in their last bits, as sums do with the number of rows."""
    first = values[0]
    if isinstance(first, float):
        return all(
            isinstance(v, int | float) and math.isclose(v, first, rel_tol=1e-6, abs_tol=1e-9) for v in values
        )
    return all(value == first for value in values)


def _bound_ms(policy: LoadTest) -> float:
    return policy.p95.total_seconds() * 1000


def _number_text(value: Value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(value)


def _encoded(document: object) -> bytes:
    return json.dumps(document).encode()
