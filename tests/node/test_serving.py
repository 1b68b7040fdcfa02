"""Muster's scoring script behind real servers: what it answers, what it refuses, and what it collects."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import package
from node.errors import CodeLoadError, ModelLoadError
from node.models import Column, ModelCard
from node.serving.loading import as_frame
from node.serving.requests import MOST_FAULTS, BadRequest, parse_rows
from tests.node import onnx_bytes
from tests.node.estate import ROOT
from tests.node.jobs import some_rows
from tests.node.servers import (
    GOOD,
    InProcess,
    Server,
    begun,
    needs_inference,
    served,
    store_bytes,
    store_model,
    unpacked,
)


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("code"))


@pytest.fixture(scope="module", params=[pytest.param("inference", marks=needs_inference), "wsgi"])
def server(
    request: pytest.FixtureRequest, code: Path, model: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server | InProcess]:
    folder = tmp_path_factory.mktemp("served") / "flights-delay"
    digest = store_model(
        folder / "1", model
    )  # as Azure ML lays a registered folder out: below AZUREML_MODEL_DIR
    if request.param == "wsgi":
        yield InProcess(folder, digest)
        return
    with served("inference", code, folder, {"MUSTER_MODEL_SHA256": digest}) as server:
        yield server


def test_columns_in_any_order_are_predicted_in_the_cards(server: Server | InProcess, model: Any) -> None:
    status, answer, headers = server.post(GOOD)
    rows = some_rows(0).head(0)[["distance", "hour"]]
    rows.loc[0], rows.loc[1] = [500.5, 7], [90.0, 23]
    expected = model.predict_proba(rows.astype({"distance": "float64", "hour": "int64"}))[:, 1]
    assert status == 200
    assert answer == {"predictions": list(expected)}
    assert len(headers["x-muster-request-id"]) == 32


def test_an_answer_is_the_same_whoever_else_asks(server: Server | InProcess) -> None:
    asked = [
        {"input_data": {"columns": ["distance", "hour"], "data": [[float(n * 37), n % 24]]}}
        for n in range(40)
    ]
    alone = [server.post(each)[1] for each in asked]
    with ThreadPoolExecutor(8) as clients:
        assert [answer for _, answer, _ in clients.map(server.post, asked)] == alone


def _with(columns: Any = None, data: Any = None, **more: Any) -> dict[str, Any]:
    table = {"columns": ["distance", "hour"] if columns is None else columns, "data": data or [[1.0, 2]]}
    return {"input_data": {**table, **more}}


REFUSED: dict[str, tuple[Any, list[str]]] = {
    "not JSON": (b"{", ["the body is not JSON"]),
    "not UTF-8": (b'{"input_data": "\xff"}', ["the body is not JSON"]),
    "nothing": (b"", ["the body is not JSON"]),
    "deep": (b"[" * 100_000, ["the body is not JSON"]),
    "a number of 5,000 digits": (b"1" * 5000, ["the body is not JSON"]),
    "another shape": ([1, 2], ["not of the shape"]),
    "no rows": ({"input_data": {"columns": ["distance", "hour"], "data": []}}, ["at least one"]),
    "too many rows": (_with(data=[[1.0, 2]] * 1001), ["1001 rows; at most 1000"]),
    "a field nobody knows": ({**_with(), "explain": True}, ['"explain": not a field']),
    "a missing column": (_with(["hour"], [[2]]), ["'distance' is missing"]),
    "a strange column": (_with(["distance", "hour", "wind"], [[1.0, 2, 3]]), ['"wind" is no input']),
    "a column twice": (_with(["distance", "hour", "hour"], [[1.0, 2, 3]]), ['"hour" is there 2 times']),
    "a row that is too short": (_with(data=[[1.0, 2], [1.0]]), ["data[1]: a list of 2"]),
    "a text for a number": (_with(data=[["far", 2]]), ['data[0][0] (distance): "far" found, a number']),
    "true for a number": (_with(data=[[True, 2]]), ["(distance): true found"]),
    "half an hour": (_with(data=[[1.0, 2.5]]), ["(hour): 2.5 found, a whole number"]),
    "null": (_with(data=[[None, 2]]), ["(distance): null found"]),
    "NaN": (b'{"input_data": {"columns": ["distance", "hour"], "data": [[NaN, 2]]}}', ["no finite number"]),
    "infinity by overflow": (
        b'{"input_data": {"columns": ["distance", "hour"], "data": [[1e999, 2]]}}',
        ["(distance): Infinity is no finite number"],
    ),
    "more than 64 bits": (_with(data=[[1.0, 2**63]]), ["(hour): a huge number is no 64-bit number"]),
    "all of it": (
        _with(data=[["far", 2], [1.0, "late"], [None, None]]),
        ["data[0][0]", "data[1][1]", "data[2][0]", "data[2][1]"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_malformed_request_is_the_clients_fault_and_every_fault_is_named(
    server: Server | InProcess, case: str
) -> None:
    body, faults = REFUSED[case]
    status, answer, _ = server.post(body)
    assert status == 400, answer
    assert all(any(fault in said for said in answer["faults"]) for fault in faults), answer
    assert len(answer["faults"]) == len(faults)


_KINDS = ("double", "long", "string", "boolean")
_CARD = ModelCard(
    "m",
    "1",
    "sklearn",
    "m",
    "0" * 64,
    tuple(Column(kind, kind) for kind in _KINDS),
    Column("out", "double"),
    (),
)
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "double": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**60), 2**60),
    "long": st.integers(-(2**63), 2**63 - 1) | st.integers(-(2**50), 2**50).map(float),
    "string": st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    "boolean": st.booleans(),
}
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
_tables = st.fixed_dictionaries(
    {
        "columns": st.permutations(_KINDS) | _json,
        "data": st.lists(st.lists(_json, min_size=4, max_size=4), max_size=3) | _json,
    }
)
_bodies = _json | _tables | _tables.map(lambda table: {"input_data": table})


@st.composite
def _good_tables(draw: st.DrawFn) -> dict[str, Any]:
    columns = draw(st.permutations(_KINDS))
    rows = st.tuples(*(_VALUES[kind] for kind in columns)).map(list)
    return {"columns": columns, "data": draw(st.lists(rows, min_size=1, max_size=4))}


@given(_good_tables())
def test_rows_of_the_cards_types_reach_the_model_as_they_are(table: dict[str, Any]) -> None:
    frame = as_frame(parse_rows(json.dumps({"input_data": table}).encode(), _CARD.inputs), _CARD)
    assert tuple(frame.columns) == _KINDS
    sent = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    for row in sent:
        row["double"] = float(row["double"])  # what a whole number beyond 2**53 is as one
    assert frame.to_dict("records") == [{kind: row[kind] for kind in _KINDS} for row in sent]


@given(st.binary(max_size=60) | _bodies.map(json.dumps).map(str.encode))
def test_whatever_else_is_sent_is_the_clients_fault_and_is_told_shortly(body: bytes) -> None:
    try:
        rows = parse_rows(body, _CARD.inputs)
    except BadRequest as error:
        assert error.status == 400
        assert 1 <= len(error.faults) <= MOST_FAULTS + 1
        assert len(json.dumps(error.faults)) < 10_000
    else:
        assert len(as_frame(rows, _CARD)) == rows.count > 0


def test_a_thousand_faults_are_counted_not_listed(server: Server | InProcess) -> None:
    status, answer, _ = server.post(_with(data=[["x", "y"]] * 1000))
    assert status == 400
    assert len(answer["faults"]) == 51
    assert answer["faults"][-1] == "and 1950 faults more"


def test_a_body_of_10_mb_is_refused_and_the_server_lives_on(server: Server | InProcess) -> None:
    status, answer, _ = server.post(b" " * 10_000_000)
    assert (status, answer["faults"]) == (413, ["the body has more than 1048576 bytes"])
    assert server.post(GOOD)[0] == 200


def test_only_post_scores(server: Server | InProcess) -> None:
    assert server.send("GET", "/score?hour=1")[0] == 405


class _Source:
    """Unpickles as whatever the expression gives, where nothing of these tests can be imported."""

    def __init__(self, expression: str) -> None:
        self._expression = expression

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (self._expression,)


def _planted(body: str) -> _Source:
    return _Source(f"type('Planted', (), {{'predict': lambda self, frame: {body}}})()")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("[float('nan')] * len(frame)", "2 of 2 predictions are no finite double: the model gave nan"),
        ("[0.5, float('inf')]", "1 of 2 predictions are no finite double: the model gave inf"),
        ("[0.5]", "1 values for 2 rows"),
        ("1 / 0", "the model raised ZeroDivisionError"),
        ("None", "NoneType values for 2 rows"),
        ("['0.5', None]", "2 of 2 predictions are no finite double"),
    ],
)
def test_no_answer_is_better_than_a_wrong_one(tmp_path: Path, body: str, said: str) -> None:
    digest = store_model(tmp_path / "model", _planted(body))
    status, answer, _ = InProcess(tmp_path / "model", digest).post(GOOD)
    assert status == 500
    assert said in answer["message"]


@needs_inference
def test_a_model_that_is_not_the_promised_one_is_never_opened(code: Path, tmp_path: Path) -> None:
    trap = tmp_path / "opened"
    store_model(tmp_path / "model", _Source(f"open({str(trap)!r}, 'w')"))
    promised = {"MUSTER_MODEL_SHA256": "0" * 64}
    with begun("inference", code, tmp_path / "model", promised) as server:
        assert server.process.wait(60) == 3
    assert (
        "muster: cannot serve: ModelLoadError: wrong digest: the deployment promises sha256 000"
        in server.said()
    )
    assert not trap.exists()


def test_a_file_changed_after_its_card_was_written_is_never_opened(tmp_path: Path) -> None:
    digest = store_model(tmp_path / "model", _planted("[0.5, 0.5]"))
    trap = tmp_path / "opened"
    store_model(tmp_path / "other", _Source(f"open({str(trap)!r}, 'w')"))
    (tmp_path / "other" / "model.joblib").rename(tmp_path / "model" / "model.joblib")
    with pytest.raises(ModelLoadError, match=r"wrong digest: .* model.joblib has [0-9a-f]{64}"):
        InProcess(tmp_path / "model", digest)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("digest", "folders", "said"),
    [
        ("", ["model"], "must say which model it is to serve"),
        ("0" * 64, [], "no such folder"),
        ("0" * 64, ["model/one", "model/other"], "has 2 MODEL.json"),
    ],
)
def test_what_a_deployment_lacks_is_said_in_one_line(
    tmp_path: Path, digest: str, folders: list[str], said: str
) -> None:
    for folder in folders:
        store_model(tmp_path / folder, _planted("[0.5]"))
    with pytest.raises(ModelLoadError, match=said) as raised:
        InProcess(tmp_path / "model", digest)
    assert len(str(raised.value).splitlines()) == 1


def test_an_onnx_model_is_served(tmp_path: Path) -> None:
    data = onnx_bytes.logistic_by_column([0.001, 0.01])
    digest = store_bytes(tmp_path / "model", data, flavor="onnx", file="model.onnx")
    status, answer, _ = InProcess(tmp_path / "model", digest).post(GOOD)
    expected = [
        1 / (1 + math.exp(-0.001 * distance - 0.01 * hour)) for hour, distance in ((7, 500.5), (23, 90))
    ]
    assert status == 200
    assert answer["predictions"] == pytest.approx(expected, abs=1e-6)


USER_SCRIPT = """
import json, os

def init():
    global offset
    assert os.path.isdir(os.environ["AZUREML_MODEL_DIR"])
    import helper
    offset = helper.OFFSET

def run(raw_data):
    table = json.loads(raw_data)["input_data"]
    if table["data"][0][0] == 13:
        raise ValueError("unlucky")
    return [offset + row[0] for row in table["data"]]
"""


@needs_inference
def test_the_users_own_script_answers_by_the_same_contract(tmp_path: Path, model: Any) -> None:
    scripts = tmp_path / "theirs"
    scripts.mkdir()
    (scripts / "score.py").write_text(USER_SCRIPT)
    (scripts / "helper.py").write_text("OFFSET = 1000")
    files = {path.name: path for path in scripts.iterdir()}
    code = unpacked(tmp_path / "code", files, "score.py")
    digest = store_model(tmp_path / "model", model)
    with served("inference", code, tmp_path / "model", {"MUSTER_MODEL_SHA256": digest}) as server:
        assert server.post(GOOD)[:2] == (200, {"predictions": [1007.0, 1023.0]})
        assert server.post(_with(data=[["far", 2]]))[0] == 400
        status, answer, _ = server.post(_with(data=[[13.0, 2]]))
        assert (status, answer["message"]) == (500, "run() raised ValueError: unlucky")


def test_a_users_script_that_raises_in_init_says_so(tmp_path: Path, model: Any) -> None:
    (tmp_path / "licensed.py").write_text(
        "def init():\n    raise RuntimeError('no licence')\ndef run(raw): ..."
    )
    digest = store_model(tmp_path / "model", model)
    with pytest.raises(CodeLoadError, match=r"licensed.py: RuntimeError: no licence"):
        InProcess(tmp_path / "model", digest, tmp_path, "licensed.py")


def test_the_archive_is_the_same_bytes_for_the_same_code_and_needs_nothing_of_the_app(tmp_path: Path) -> None:
    assert package.build_serving() == package.build_serving()
    assert package.build_serving().digest != package.build_serving({}, "score.py").digest
    names = {p.relative_to(tmp_path).as_posix() for p in unpacked(tmp_path).rglob("*") if p.is_file()}
    assert package.SCORING_ENTRY in names
    assert not any(name.split("/")[0] not in ("node", package.SCORING_ENTRY) for name in names)
    assert {name.split("/")[-1] for name in names} >= {p.name for p in (ROOT / "node/serving").glob("*.py")}
