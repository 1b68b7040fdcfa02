"""Histogram gradient boosting as ONNX's TreeEnsemble, in doubles and with its native categories.

skl2onnx 1.20 writes these trees as TreeEnsembleClassifier: thresholds become floats, so that a value between a threshold
and its float goes the other way, and splits by category become comparisons of numbers, silently. TreeEnsemble (version 5
of ai.onnx.ml) has doubles and BRANCH_MEMBER: what follows is the same arithmetic as scikit-learn's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
from onnx import TensorProto, numpy_helper
from skl2onnx import update_registered_converter
from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType, StringTensorType
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

OPSET = 5  # of ai.onnx.ml: the first with TreeEnsemble
_KNOWN_OPSET = 3  # the newest that skl2onnx lets a converter name; raised to OPSET when the graph is whole
_LEQ, _MEMBER = 0, 6  # nodes_modes
_SUM, _NO_TRANSFORM = 1, 0
_WORD = 32  # bits of a word of scikit-learn's sets of categories


def register() -> None:
    """From now on skl2onnx writes these estimators our way."""
    options = {"zipmap": [True, False, "columns"], "nocl": [True, False], "output_class_labels": [False, True],
               "raw_scores": [False]}  # fmt: skip
    update_registered_converter(
        HistGradientBoostingClassifier, "MusterHistGradientBoostingClassifier", _shape, _convert, options=options
    )  # fmt: skip
    update_registered_converter(
        HistGradientBoostingRegressor, "MusterHistGradientBoostingRegressor", _shape, _convert
    )


def raise_opset(graph: Any) -> None:
    """Name the version of ai.onnx.ml that a graph with TreeEnsemble needs. A graph without one stays as it is."""
    if any(node.op_type == "TreeEnsemble" for node in graph.graph.node):
        for entry in graph.opset_import:
            if entry.domain == "ai.onnx.ml":
                entry.version = OPSET


@dataclass
class _Forest:
    """TreeEnsemble's attributes, node by node. `members`: sets of categories, each ended by NaN."""

    roots: list[int] = field(default_factory=list)
    features: list[int] = field(default_factory=list)
    modes: list[int] = field(default_factory=list)
    splits: list[float] = field(default_factory=list)
    missing_is_true: list[int] = field(default_factory=list)
    true_ids: list[tuple[int, int]] = field(default_factory=list)  # (place, 1 if it is a leaf's)
    false_ids: list[tuple[int, int]] = field(default_factory=list)
    leaves: list[float] = field(default_factory=list)
    members: list[float] = field(default_factory=list)

    def add_leaf(self, weight: float) -> tuple[int, int]:
        self.leaves.append(weight)
        return len(self.leaves) - 1, 1

    def add_node(
        self, feature: int, mode: int, split: float, missing: int, yes: tuple[int, int], no: tuple[int, int]
    ) -> None:
        self.features.append(feature)
        self.modes.append(mode)
        self.splits.append(split)
        self.missing_is_true.append(missing)
        self.true_ids.append(yes)
        self.false_ids.append(no)

    def attributes(self) -> dict[str, Any]:
        told = {
            "aggregate_function": _SUM,
            "post_transform": _NO_TRANSFORM,
            "n_targets": 1,
            "tree_roots": self.roots,
            "nodes_featureids": self.features,
            "nodes_modes": numpy_helper.from_array(numpy.array(self.modes, numpy.uint8)),
            "nodes_splits": _doubles(self.splits),
            "nodes_missing_value_tracks_true": self.missing_is_true,
            "nodes_truenodeids": [place for place, _ in self.true_ids],
            "nodes_trueleafs": [leaf for _, leaf in self.true_ids],
            "nodes_falsenodeids": [place for place, _ in self.false_ids],
            "nodes_falseleafs": [leaf for _, leaf in self.false_ids],
            "leaf_targetids": [0] * len(self.leaves),
            "leaf_weights": _doubles(self.leaves),
        }
        return told | ({"membership_values": _doubles(self.members)} if self.members else {})


def _doubles(values: Sequence[float]) -> Any:
    return numpy_helper.from_array(numpy.array(values, numpy.float64))


@dataclass(frozen=True)
class _Columns:
    """What the trees' features are: columns of the input, the categorical ones first and by the number of a category."""

    places: tuple[int, ...]
    categories: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, model: Any) -> _Columns:
        """Raises NotImplementedError where categories are no numbers: a matrix of an ONNX graph has nothing else."""
        encoder = getattr(model, "_preprocessor", None)
        if encoder is None:
            return cls(tuple(range(model.n_features_in_)), ())
        categorical = numpy.asarray(model.is_categorical_)
        places = (*numpy.flatnonzero(categorical), *numpy.flatnonzero(~categorical))
        try:
            known = tuple(
                tuple(float(value) for value in each)
                for each in encoder.named_transformers_["encoder"].categories_
            )
        except (TypeError, ValueError) as error:
            raise NotImplementedError(f"categories that are texts: encode them first ({error})") from error
        return cls(tuple(int(place) for place in places), known)


def _forest_of(model: Any) -> _Forest:
    """Raises NotImplementedError for more than two classes."""
    forest, columns = _Forest(), _Columns.of(model)
    for trees in model._predictors:
        if len(trees) != 1:
            raise NotImplementedError(f"{len(trees)} classes: two are served")
        _add_tree(forest, columns, trees[0])
    return forest


def _add_tree(forest: _Forest, columns: _Columns, tree: Any) -> None:
    nodes, base = tree.nodes, len(forest.features)
    forest.roots.append(base)
    inner = [place for place, node in enumerate(nodes) if not node["is_leaf"]]
    placed = {place: base + count for count, place in enumerate(inner)}

    def child(place: int) -> tuple[int, int]:
        return (placed[place], 0) if place in placed else forest.add_leaf(float(nodes[place]["value"]))

    if not inner:
        only = child(0)
        forest.add_node(0, _LEQ, 0.0, 0, only, only)
    for place in inner:
        node = nodes[place]
        left, right = child(int(node["left"])), child(int(node["right"]))
        feature, missing_left = int(node["feature_idx"]), bool(node["missing_go_to_left"])
        column = columns.places[feature]
        if not node["is_categorical"]:
            forest.add_node(column, _LEQ, float(node["num_threshold"]), int(missing_left), left, right)
            continue
        # What is missing or was never seen goes where a member does not: the set is that of the other side.
        words = tree.raw_left_cat_bitsets[node["bitset_idx"]]
        known = columns.categories[feature]
        forest.members += [
            value
            for code, value in enumerate(known)
            if not math.isnan(value) and _is_in(words, code) != missing_left
        ]
        forest.members.append(math.nan)
        forest.add_node(column, _MEMBER, 0.0, 0, *((right, left) if missing_left else (left, right)))


def _is_in(words: Any, code: int) -> bool:
    return bool(int(words[code // _WORD]) >> (code % _WORD) & 1)


def _shape(operator: Any) -> None:
    model, rows = operator.raw_operator, operator.inputs[0].get_first_dimension()
    if not hasattr(model, "classes_"):
        operator.outputs[0].type = DoubleTensorType([rows, 1])
        return
    label = StringTensorType if model.classes_.dtype.kind in "OUT" else Int64TensorType
    operator.outputs[0].type = label([rows])
    operator.outputs[1].type = DoubleTensorType([rows, 2])


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """scikit-learn's predict or predict_proba: the sum of the leaves, the baseline, and the loss's link."""
    model = operator.raw_operator

    def add(kind: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        name = output or scope.get_unique_variable_name(kind.lower())
        container.add_node(kind, inputs, [name], name=scope.get_unique_operator_name(kind), **attributes)
        return str(name)

    def constant(kind: int, values: list[Any]) -> str:
        name = scope.get_unique_variable_name("constant")
        container.add_initializer(name, kind, [len(values)], values)
        return str(name)

    rows = add("Cast", [operator.inputs[0].full_name], to=TensorProto.DOUBLE, op_version=13)
    leaves = add(
        "TreeEnsemble", [rows], op_domain="ai.onnx.ml", op_version=_KNOWN_OPSET, **_forest_of(model).attributes()
    )  # fmt: skip
    baseline = constant(TensorProto.DOUBLE, [float(numpy.ravel(model._baseline_prediction)[0])])
    link = type(model._loss.link).__name__
    if not hasattr(model, "classes_"):
        raw = add(
            "Add",
            [leaves, baseline],
            "" if link == "LogLink" else operator.outputs[0].full_name,
            op_version=14,
        )
        if link == "LogLink":
            add("Exp", [raw], operator.outputs[0].full_name, op_version=13)
        elif link != "IdentityLink":
            raise NotImplementedError(f"the link {link}")
        return
    if link != "LogitLink":
        raise NotImplementedError(f"the link {link}")
    yes = add("Sigmoid", [add("Add", [leaves, baseline], op_version=14)], op_version=13)
    no = add("Sub", [constant(TensorProto.DOUBLE, [1.0]), yes], op_version=14)
    both = add("Concat", [no, yes], operator.outputs[1].full_name, axis=1, op_version=13)
    place = add("ArgMax", [both], axis=1, keepdims=0, op_version=13)
    add("Gather", [_classes(model, constant), place], operator.outputs[0].full_name, op_version=13)


def _classes(model: Any, constant: Any) -> str:
    classes = model.classes_.tolist()
    if model.classes_.dtype.kind in "OUT":
        return str(constant(TensorProto.STRING, [str(each).encode() for each in classes]))
    return str(constant(TensorProto.INT64, [int(each) for each in classes]))
