"""A scikit-learn model as an ONNX graph with one named input for each column and one output, the card's own."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import onnx
from onnx import TensorProto, helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import (
    BooleanTensorType,
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from node import convert_trees
from node.errors import ItemFault, reason_of
from node.models import Column, Model, ModelCard, class_one, load_onnx

_TENSORS = {
    "double": DoubleTensorType, "float": FloatTensorType, "long": Int64TensorType, "string": StringTensorType,
    "boolean": BooleanTensorType,
}  # fmt: skip
_ML_OPSET = 3  # of ai.onnx.ml: the newest that skl2onnx knows


@dataclass(frozen=True)
class Graph:
    """A model that gives an answer for every row it was tried with. `precision`: of its numbers, double or float."""

    data: bytes
    model: Model
    precision: str
    opsets: dict[str, int]


@dataclass(frozen=True)
class _Way:
    """How columns become tensors. `gathered`: as one matrix before the first step, which takes only one."""

    precision: str
    longs: str
    gathered: bool


def to_onnx(estimator: Any, card: ModelCard, frame: Any, opset: int) -> Graph:
    """The first way that gives a graph which answers all rows of `frame`: doubles before floats, whole numbers as such.

    Doubles first, since scikit-learn computes in them: a tree whose thresholds become floats goes another way for values
    between the two. Raises ItemFault with the first way's fault if there is none.
    """
    convert_trees.register()
    faults = []
    for way in _ways(card.inputs):
        try:
            return _graph(estimator, card, frame, opset, way)
        except Exception as error:  # noqa: BLE001 - converters raise what they like at what they do not know
            faults.append(reason_of(error))
    raise ItemFault(f"cannot be converted: {faults[0]}")


def _ways(inputs: Sequence[Column]) -> Iterator[_Way]:
    has_texts = any(column.type == "string" for column in inputs)
    for precision in ("double", "float"):
        for longs in ("long", precision):
            yield _Way(precision, longs, gathered=False)
        if not has_texts:
            yield _Way(precision, precision, gathered=True)


def _graph(estimator: Any, card: ModelCard, frame: Any, opset: int, way: _Way) -> Graph:
    whole = _gathering(estimator, card, frame) if way.gathered else estimator
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        made = convert_sklearn(
            whole,
            name=card.name,  # without one it is drawn at random
            initial_types=[(column.name, _tensor(column, way)) for column in card.inputs],
            target_opset={"": opset, "ai.onnx.ml": _ML_OPSET},
            options={id(whole): {"zipmap": False}} if hasattr(whole, "predict_proba") else None,
        )
    _end_with(made, card, _column(whole))
    convert_trees.raise_opset(made)
    onnx.checker.check_model(made, full_check=True)
    data: bytes = made.SerializeToString(deterministic=True)
    model = load_onnx(data, replace(card, flavor="onnx"))
    model.predict(frame)
    opsets = {entry.domain: entry.version for entry in made.opset_import}
    return Graph(data, model, way.precision, opsets)


def _gathering(estimator: Any, card: ModelCard, frame: Any) -> Any:
    names = [column.name for column in card.inputs]
    gather = ColumnTransformer([("columns", "passthrough", names)]).fit(frame[names])
    steps = estimator.steps if isinstance(estimator, Pipeline) else [("model", estimator)]
    return Pipeline([("gather", gather), *steps])


def _tensor(column: Column, way: _Way) -> Any:
    kind = {"double": way.precision, "long": way.longs}.get(column.type, column.type)
    return _TENSORS[kind]([None, 1])


def _column(estimator: Any) -> int | None:
    """Which of the probabilities is the answer; None of a model that has none."""
    return class_one(list(estimator.classes_)) if hasattr(estimator, "predict_proba") else None


def _end_with(made: Any, card: ModelCard, column: int | None) -> None:
    """Cut the graph down to one value for each row, called as in the card."""
    graph = made.graph
    last = graph.output[-1]
    kind = last.type.tensor_type.elem_type
    name = card.output.name
    taken = {each.name for each in (*graph.input, *graph.initializer)} | {
        output for node in graph.node for output in node.output
    }
    name = "muster_output" if name in taken else name  # a graph's only output is found by any name
    values = last.name
    if column is not None:
        graph.initializer.append(helper.make_tensor("muster_class", TensorProto.INT64, [1], [column]))
        graph.node.append(helper.make_node("Gather", [values, "muster_class"], ["muster_answer"], axis=1))
        values = "muster_answer"
    graph.initializer.append(helper.make_tensor("muster_rows", TensorProto.INT64, [1], [-1]))
    graph.node.append(helper.make_node("Reshape", [values, "muster_rows"], [name]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(name, kind, [None]))
