"""A stored model: its card (MODEL.json), its file, and what loads it. Nothing is unpickled before its hash is right."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from node.errors import ModelLoadError, NodeError, reason_of
from node.fields import is_safe_name
from node.job import ModelSource
from node.storage import NotThere, Store

CARD = "MODEL.json"
TYPES = ("double", "long", "string", "boolean")
FLAVORS = ("sklearn", "onnx")
UNITS = "units"  # a version that holds a model for each unit: its file is their index
SOURCE_COLUMN = "_source"
CARD_MAX_BYTES = 256 * 1024


@dataclass(frozen=True)
class Column:
    name: str
    type: str


@dataclass(frozen=True)
class ModelCard:
    name: str
    version: str
    flavor: str
    file: str
    sha256: str
    inputs: tuple[Column, ...]
    output: Column
    keys: tuple[str, ...]


class Model(Protocol):
    def predict(self, frame: Any) -> Any:
        """One value for each row of a pandas DataFrame that has the card's inputs, in their order."""


def fetch_model(store: Store, source: ModelSource, folder: Path) -> ModelCard:
    """Put card and model file into `folder`. Raises ModelLoadError unless they are what the job promised."""
    prefix = source.prefix.rstrip("/")
    try:
        raw = store.read(source.container, f"{prefix}/{CARD}", max_bytes=CARD_MAX_BYTES)
        card = parse_card(raw)
        found = store.fetch(source.container, f"{prefix}/{card.file}", folder / card.file)
    except NotThere as error:
        raise ModelLoadError(str(error)) from error
    if found != source.sha256 or card.sha256 != source.sha256:
        raise ModelLoadError(
            f"{source.name} {source.version}: the job promises sha256 {source.sha256}, "
            f"{CARD} says {card.sha256}, {card.file} has {found}"
        )
    if card.flavor != source.flavor:
        raise ModelLoadError(f"{source.name}: the job says {source.flavor}, {CARD} says {card.flavor}")
    (folder / CARD).write_bytes(raw)
    return card


def parse_card(raw: bytes) -> ModelCard:
    try:
        card = json.loads(raw)
        parsed = ModelCard(
            name=str(card["name"]),
            version=str(card["version"]),
            flavor=str(card["flavor"]),
            file=str(card["file"]),
            sha256=str(card["sha256"]),
            inputs=tuple(Column(str(column["name"]), str(column["type"])) for column in card["inputs"]),
            output=Column(str(card["output"]["name"]), str(card["output"]["type"])),
            keys=tuple(str(key) for key in card.get("keys", [])),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelLoadError(f"{CARD}: {type(error).__name__}: {error}") from error
    if fault := _fault_of(parsed):
        raise ModelLoadError(f"{CARD}: {fault}")
    return parsed


def load_model(folder: Path, card: ModelCard) -> Model:
    """Load the model from the bytes that were hashed, not from a file that might change in between."""
    data = (folder / card.file).read_bytes()
    if hashlib.sha256(data).hexdigest() != card.sha256:
        raise ModelLoadError(f"{card.file}: its sha256 is not {card.sha256}")
    if card.flavor == UNITS:
        raise ModelLoadError(f"{card.name} {card.version} holds a model for each unit, and is none itself")
    try:
        return load_onnx(data, card) if card.flavor == "onnx" else Sklearn(data)
    except NodeError:
        raise
    except Exception as error:  # loading runs whatever the pickle says: any exception is its own
        raise ModelLoadError(f"{card.name} {card.version}: {reason_of(error)}") from error


def load_onnx(data: bytes, card: ModelCard) -> Model:
    """The model in these bytes. Raises what onnxruntime raises, or ModelLoadError."""
    return _Onnx(data, card)


def _fault_of(card: ModelCard) -> str | None:
    names = [column.name for column in card.inputs]
    made = [SOURCE_COLUMN, card.output.name]
    if card.flavor not in (*FLAVORS, UNITS):
        return f"flavor {card.flavor!r} is not {' or '.join((*FLAVORS, UNITS))}"
    if "/" in card.file or not is_safe_name(card.file):
        return f"file {card.file!r} is not a plain file name"
    if not names or len(set(names)) != len(names) or len(set(card.keys)) != len(card.keys):
        return "inputs are missing, or inputs or keys name a column twice"
    if taken := [name for name in card.keys if name in made] or made[0] == made[1]:
        return f"keys and output may not be called {taken if isinstance(taken, list) else made}"
    if wrong := [column.type for column in (*card.inputs, card.output) if column.type not in TYPES]:
        return f"type {wrong[0]!r} is not one of {', '.join(TYPES)}"
    return None


class Sklearn:
    """A whole Pipeline, `estimator`: probability of class 1 where it has one, else its prediction."""

    def __init__(self, data: bytes) -> None:
        import joblib

        self.estimator = joblib.load(io.BytesIO(data))
        if not hasattr(self.estimator, "predict"):
            raise ModelLoadError(f"a {type(self.estimator).__name__} has no predict")

    def predict(self, frame: Any) -> Any:
        if not hasattr(self.estimator, "predict_proba"):
            return self.estimator.predict(frame)
        return self.estimator.predict_proba(frame)[:, class_one(list(self.estimator.classes_))]


def class_one(classes: Sequence[Any]) -> int:
    """Where the class whose probability is the answer stands among the classes."""
    return classes.index(1) if 1 in classes else len(classes) - 1


class _Onnx:
    """A model with one input per column, or with one matrix of all of them.

    The prediction is the output called as in the card, else the last one (converters put probabilities last),
    and of probabilities that of class 1.
    """

    def __init__(self, data: bytes, card: ModelCard) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # sums in one order on any machine
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self._columns = [column.name for column in card.inputs]
        self._inputs = self._session.get_inputs()
        by_column = {node.name for node in self._inputs} == set(self._columns)
        if not by_column and len(self._inputs) != 1:
            raise ModelLoadError(
                f"inputs {sorted(node.name for node in self._inputs)} are not the columns of {CARD}"
            )
        self._by_column = by_column
        outputs = [node.name for node in self._session.get_outputs()]
        self._output = card.output.name if card.output.name in outputs else outputs[-1]

    def predict(self, frame: Any) -> Any:
        if self._by_column:
            feed = {node.name: frame[[node.name]].to_numpy(_numpy_type(node.type)) for node in self._inputs}
        else:
            node = self._inputs[0]
            feed = {node.name: frame[self._columns].to_numpy(_numpy_type(node.type))}
        (result,) = self._session.run([self._output], feed)
        return _one_value_per_row(result)


def _numpy_type(onnx_type: str) -> Any:
    import numpy

    known = {
        "tensor(float)": numpy.float32,
        "tensor(double)": numpy.float64,
        "tensor(int64)": numpy.int64,
        "tensor(int32)": numpy.int32,
        "tensor(bool)": numpy.bool_,
        "tensor(string)": numpy.object_,
    }
    if onnx_type not in known:
        raise ModelLoadError(f"an input of type {onnx_type} cannot be fed from a column")
    return known[onnx_type]


def _one_value_per_row(result: Any) -> Any:
    import numpy

    if isinstance(result, list):  # ZipMap: one {class: probability} for each row
        return numpy.array([row[1] if 1 in row else row[max(row)] for row in result])
    if result.ndim == 2:
        return result[:, 1] if result.shape[1] == 2 else result.reshape(len(result), -1)[:, -1]
    return result
