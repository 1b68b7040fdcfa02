"""The flights' champion as it is served: what the night scores, and what its golden file says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from localdev.demo import champion, flights
from node.inputs import read_table
from node.models import load_model, parse_card
from node.scoring import BuiltInScorer, Input
from shared.domain.golden import Golden, Signature, read_golden, read_signature
from shared.domain.probes import Answer, ask_rows, judge_golden
from tests.node.estate import ROOT
from tests.node.servers import InProcess, store_model


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[InProcess, Path]:
    folder = tmp_path_factory.mktemp("champion")
    model, _ = champion.train()
    card = champion.model_card("flights-delay", champion.dumped(model), {})
    digest = store_model(folder, model, inputs=card["inputs"], output=card["output"], keys=card["keys"])
    return InProcess(folder, digest), folder


def test_a_row_is_answered_as_the_night_scores_it(served: tuple[InProcess, Path]) -> None:
    server, folder = served
    card = parse_card((folder / "MODEL.json").read_bytes())
    _, day = next(iter(flights.days(1)))
    data = flights.as_parquet(day.slice(0, 200))
    scorer = BuiltInScorer(load_model(folder, card), card)
    table = read_table("day.parquet", data, card.inputs, card.keys)
    names = [column.name for column in card.inputs]
    rows = table.select(names).to_pylist()
    body = {"input_data": {"columns": names, "data": [[row[name] for name in names] for row in rows]}}
    scored = scorer.score([Input(0, "day.parquet", data)]).table[card.output.name].to_pylist()
    assert server.post(body)[:2] == (200, {"predictions": scored})


def _golden(folder: Path) -> tuple[Signature, tuple[Golden, ...]]:
    signature = read_signature(json.loads((folder / "MODEL.json").read_text()))
    data = (ROOT / "workloads/flights_golden.jsonl").read_bytes()
    return signature, read_golden(data, "golden", signature)


def test_the_champion_gives_its_golden_answers(served: tuple[InProcess, Path]) -> None:
    server, folder = served
    signature, goldens = _golden(folder)
    answers = [
        Answer(status, json.dumps(answer).encode())
        for status, answer, _ in (server.post(ask_rows(signature, [golden.input])) for golden in goldens)
    ]
    assert [row for row in judge_golden(signature, goldens, answers) if not row.ok] == []
