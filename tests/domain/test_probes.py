"""What deployments are asked before they have traffic, and how answers are judged."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.models import Column
from node.serving.requests import BadRequest, parse_rows
from shared.domain import probes
from shared.domain.deploy import ProbeKind, ProbeRow
from shared.domain.deployment import LoadTest
from shared.domain.errors import SpecError, SpecErrors
from shared.domain.golden import Golden, Signature, read_golden, read_signature
from shared.domain.probes import Answer, LoadPart

FLIGHTS = Signature((("carrier", "string"), ("distance", "double"), ("hour", "long")), "double")
SAMPLE = {"carrier": "UA", "distance": 1400.0, "hour": 7}
ROOT = Path(__file__).parents[2]

kinds = st.sampled_from(["double", "long", "string", "boolean"])
signatures = st.dictionaries(st.text(min_size=1, max_size=8), kinds, min_size=1, max_size=5).map(
    lambda columns: Signature(tuple(columns.items()), "double")
)


def answered(*values: Any, status: int = 200, ms: float = 10.0) -> Answer:
    return Answer(status, json.dumps({"predictions": list(values)}).encode(), ms)


@given(signatures)
def test_the_scoring_script_answers_the_contract_of_any_signature(signature: Signature) -> None:
    """Both sides of the contract are ours, written apart: what one asks, the other accepts or refuses as expected."""
    inputs = [Column(name, kind) for name, kind in signature.inputs]
    for question in probes.contract_questions(signature, probes.sample_of(signature, (), None)):
        try:
            rows = parse_rows(question.body, inputs)
        except BadRequest as refusal:
            assert refusal.status in question.statuses, question.what
        else:
            assert (question.statuses, question.rows) == ((200,), rows.count), question.what


def _contract(*first: Answer, **by_what: Answer) -> list[ProbeRow]:
    questions = probes.contract_questions(FLIGHTS, SAMPLE)
    good = [answered(0.3), answered(0.3, 0.3, 0.3), answered(0.3)]
    answers = [*(first or good), *(Answer(q.statuses[0]) for q in questions[3:])]
    for what, answer in by_what.items():
        (place,) = (n for n, q in enumerate(questions) if q.what.replace(" ", "_") == what)
        answers[place] = answer
    return [row for row in probes.judge_contract(FLIGHTS, questions, answers) if not row.ok]


def test_a_model_that_keeps_the_contract_passes() -> None:
    assert _contract() == []


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(500, b'{"message": "the model raised KeyError"}'), "the model raised KeyError"),
        (Answer(0, error="timed out"), "timed out"),
        (answered(math.nan), "NaN is no finite double"),
        (answered(math.inf), "Infinity is no finite double"),
        (answered(None), "null is no finite double"),
        (answered("0.3"), '"0.3" is no finite double'),
        (answered(True), "true is no finite double"),
        (answered(), "0 predictions for 1 rows"),
        (answered(0.3, 0.3), "2 predictions for 1 rows"),
        (Answer(200, b'{"result": [0.3]}'), "no list `predictions`"),
        (Answer(200, b"[0.3]"), "no list `predictions`"),
        (Answer(200, b"<html>"), "not JSON"),
        (Answer(200, b"[" * 99_999), "not JSON"),
        (Answer(200, b'{"predictions": [1' + b"0" * 400 + b"]}"), "is no finite double"),
    ],
)
def test_a_valid_row_must_be_answered_with_one_finite_number(answer: Answer, why: str) -> None:
    (failed, *_) = _contract(answer, answered(0.3, 0.3, 0.3), answered(0.3))
    assert failed.what == "a valid row"
    assert why in failed.why


def test_a_malformed_request_that_breaks_the_model_fails_the_contract() -> None:
    (failed,) = _contract(without_a_column=Answer(500, b'{"message": "KeyError: carrier"}'))
    assert (failed.value, failed.rule, failed.why) == ("500", "400", "KeyError: carrier")


def test_a_malformed_request_that_is_scored_fails_the_contract() -> None:
    assert [row.what for row in _contract(with_a_column_too_many=answered(0.3))] == ["with a column too many"]


def test_an_answer_that_depends_on_the_columns_order_fails_the_contract() -> None:
    (failed,) = _contract(answered(0.3), answered(0.3, 0.3, 0.3), answered(0.7))
    assert "columns' order" in failed.why


def test_sums_may_differ_in_their_last_bits() -> None:
    assert _contract(answered(0.3), answered(*[0.3 + 1e-12] * 3), answered(0.3)) == []


def test_the_sample_is_golden_then_the_cards_then_made_up() -> None:
    golden = Golden("g:1", SAMPLE, 0.3)
    example = {**SAMPLE, "carrier": "DL"}
    assert probes.sample_of(FLIGHTS, [golden], example) == SAMPLE
    assert probes.sample_of(FLIGHTS, [], example) == example
    assert probes.sample_of(FLIGHTS, [], {"carrier": "DL"}) == {"carrier": "a", "distance": 1.0, "hour": 1}


@pytest.mark.parametrize(
    ("expect", "value", "ok"),
    [
        ({"value": 0.31, "tolerance": 0.02}, 0.325, True),
        ({"value": 0.31, "tolerance": 0.02}, 0.34, False),
        ({"value": 0.31}, 0.31, True),
        ({"value": 0.31}, 0.3100001, False),
        ({"min": 0, "max": 1}, 1, True),
        ({"min": 0, "max": 1}, 1.0001, False),
        ({"min": 0}, 1e300, True),
        ({"max": 0}, -1e300, True),
        ({"min": 0, "max": 1}, math.nan, False),
        ({"min": 0}, math.inf, False),
        ({"min": 0, "max": 1}, None, False),
        ({"min": 0, "max": 1}, "0.5", False),
        ({"min": 0, "max": 1}, True, False),
    ],
)
def test_a_golden_answer_is_judged_by_its_bounds_and_nan_never_passes(
    expect: dict[str, Any], value: Any, ok: bool
) -> None:
    line = json.dumps({"input": SAMPLE, "expect": expect}).encode()
    (row,) = probes.judge_golden(FLIGHTS, read_golden(line, "g", FLIGHTS), [answered(value)])
    assert row.ok is ok, row


def test_a_golden_row_that_the_model_refuses_fails_with_its_words() -> None:
    goldens = [Golden("g:1", SAMPLE, least=0, most=1)]
    (row,) = probes.judge_golden(FLIGHTS, goldens, [Answer(500, b'{"message": "hour 7 is out of bounds"}')])
    assert (row.ok, row.value, row.why) == (False, "500", "hour 7 is out of bounds")


def test_labels_are_compared_as_they_are() -> None:
    signature = Signature((("hour", "long"),), "string")
    lines = b'{"input": {"hour": 1}, "expect": {"value": "late"}}\n{"input": {"hour": 2}, "expect": {"value": "late"}}'
    goldens = read_golden(lines, "g", signature)
    rows = probes.judge_golden(signature, goldens, [answered("late"), answered("on time")])
    assert [row.ok for row in rows] == [True, False]


def test_every_fault_of_a_golden_file_is_told_with_its_line() -> None:
    lines = [
        '{"input": {"carrier": "UA", "distance": 1.5, "hour": 7}, "expect": {"value": 0.3}}',
        "",
        '{"input": {"carrier": 1, "distance": 1.5}, "expect": {"value": 0.3, "tolerance": -1}}',
        "not JSON",
        '{"input": {"carrier": "UA", "distance": 1.5, "hour": 7, "wind": 1}, "expect": {"min": 1, "max": 0}}',
        '{"input": {"carrier": "UA", "distance": 1.5, "hour": 7}, "expect": {"value": 0.3, "max": 1}}',
        '{"input": {"carrier": "UA", "distance": 1.5, "hour": 7}, "expect": {"value": NaN}}',
    ]
    with pytest.raises(SpecErrors) as raised:
        read_golden("\n".join(lines).encode(), "golden.jsonl", FLIGHTS)
    assert [(fault.line, fault.path) for fault in raised.value.faults] == [
        (3, "input.hour"), (3, "input.carrier"), (3, "expect.tolerance"), (4, ""), (5, "input.wind"), (5, "expect.min"),
        (6, "expect"), (7, "expect.value"),
    ]  # fmt: skip


@pytest.mark.parametrize("data", [b"", b"\n \n", b"\xff", b"{}\n" * 501, b" " * (1024 * 1024 + 1)])
def test_a_golden_file_that_tests_nothing_or_too_much_is_refused(data: bytes) -> None:
    with pytest.raises(SpecError):
        read_golden(data, "golden.jsonl", FLIGHTS)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_golden_file_breaks_the_reader(data: bytes) -> None:
    try:
        goldens = read_golden(data, "golden.jsonl", FLIGHTS)
    except SpecError:
        return
    assert goldens


def test_a_card_that_does_not_say_what_it_takes_is_refused() -> None:
    for card in (
        {},
        {"inputs": [{"name": "a", "type": "image"}], "output": {"type": "double"}},
        {"inputs": 3},
    ):
        with pytest.raises(SpecError, match=r"MODEL.json"):
            read_signature(card)


def _policy(**changes: Any) -> LoadTest:
    return LoadTest.model_validate(
        {"requests": 100, "concurrency": 4, "p95": "PT0.25S", "maxErrorRate": 0.02, **changes}
    )


def _part(requests: int, *, errors: int = 0, slow: int = 0, seconds: float = 2.0) -> LoadPart:
    good = requests - errors
    return LoadPart(
        requests, (*[20.0] * (good - slow), *[900.0] * slow), seconds, {"500: no": errors} if errors else {}
    )


@pytest.mark.parametrize(
    ("done", "failed"),
    [
        (_part(100), []),
        (_part(100, errors=2), []),
        (_part(100, errors=3), ["requests without a good answer"]),
        (_part(100, slow=5), []),
        (_part(100, slow=6), ["p95 of the answers"]),
        (_part(40, slow=6), ["p95 of the answers", "requests, 4 at once"]),
        (_part(0), ["p95 of the answers", "requests without a good answer", "requests, 4 at once"]),
        (_part(100, errors=100), ["p95 of the answers", "requests without a good answer"]),
    ],
)
def test_a_load_test_is_judged_by_p95_and_errors(done: LoadPart, failed: list[str]) -> None:
    assert [row.what for row in probes.judge_load(_policy(), done) if not row.ok] == failed


def test_a_load_test_in_parts_is_one_test() -> None:
    parts = [_part(30), _part(30, slow=2), _part(40, errors=2)]
    merged = probes.merge_load(parts)
    assert (merged.requests, merged.errors, len(merged.latencies_ms), merged.seconds) == (100, 2, 98, 6.0)
    assert merged.faults == {"500: no": 2}
    assert [probes.requests_left(_policy(), probes.merge_load(parts[:n])) for n in range(4)] == [
        100,
        70,
        40,
        0,
    ]


def test_a_load_test_that_cannot_pass_any_more_is_given_up() -> None:
    assert probes.requests_left(_policy(), _part(10, errors=3)) == 0
    assert probes.requests_left(_policy(), _part(10, slow=6)) == 0
    assert probes.requests_left(_policy(), _part(10, errors=2, slow=5)) == 90


def test_an_answer_without_a_prediction_is_an_error_under_load_too() -> None:
    part = probes.load_part(
        FLIGHTS, [answered(0.3), answered(math.nan), Answer(429, b"busy"), Answer(0, error="x")], 1.0
    )
    assert (part.requests, part.errors) == (4, 3)
    assert part.faults == {"200: NaN is no finite double": 1, "429: busy": 1, "no answer: x": 1}


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_one_of_the_values_and_that_share_is_not_above_it(
    values: list[float], share: float
) -> None:
    found = probes.percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


def test_a_report_shows_failures_first_and_stays_small() -> None:
    rows = [ProbeRow(what=f"row {n}", value="1", rule="2", ok=n != 70, why="because") for n in range(100)]
    report = probes.report(ProbeKind.GOLDEN, rows, 100)
    assert (report.ok, report.rows[0].what, len(report.rows)) == (False, "row 70", probes.MOST_ROWS)
    assert report.reason == "row 70: 1, 2 is required: because"
    assert len(report.model_dump_json()) < 8_000


def test_the_flights_golden_file_tells_honest_models_from_others() -> None:
    card = {"inputs": [{"name": name, "type": kind} for name, kind in (
        ("carrier", "string"), ("origin", "string"), ("dest", "string"), ("distance", "long"), ("hour", "long"),
        ("minute", "long"), ("sched_arr_time", "long"))], "output": {"type": "double"}}  # fmt: skip
    signature = read_signature(card)
    goldens = read_golden((ROOT / "workloads/flights_golden.jsonl").read_bytes(), "g", signature)
    hours = [golden.input["hour"] for golden in goldens]
    assert all(
        golden.allows(0.13 + 0.02 * max(0, hour - 8)) for golden, hour in zip(goldens, hours, strict=True)
    )
    for bad in (
        lambda h: 0.87 - 0.02 * h,
        lambda h: 0.9,
        lambda h: 0.0 if h > 12 else 0.1,
        lambda h: 0.25 + h / 20,
    ):
        assert not all(golden.allows(bad(hour)) for golden, hour in zip(goldens, hours, strict=True))
