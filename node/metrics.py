"""How good predictions are: metrics as scikit-learn defines them, and the same again fast enough for a bootstrap.

auc, logLoss, accuracy and brier are of a label that is 0 or 1 and of a probability of 1; rmse, mae and r2 of any number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
from sklearn import metrics

from node.errors import ItemFault

Array = Any
Resampled = Callable[[Array], float]
"""The metric of a resample, given how often each row is in it. NaN where it is not defined."""

NAMES = ("auc", "logLoss", "accuracy", "brier", "rmse", "mae", "r2")
_OF_CLASSES = frozenset({"auc", "logLoss", "accuracy", "brier"})
_OF_PROBABILITIES = frozenset({"logLoss", "accuracy", "brier"})
_THRESHOLD = 0.5
_LEAST = float(numpy.finfo(numpy.float64).eps)  # what log_loss clips to


def metric(name: str, labels: Array, predicted: Array) -> float:
    """The metric over all rows. Raises ItemFault with the reason where it is not defined."""
    _check(name, labels, predicted)
    match name:
        case "auc":
            return float(metrics.roc_auc_score(labels, predicted))
        case "logLoss":
            return float(metrics.log_loss(labels, predicted, labels=[0, 1]))
        case "accuracy":
            return float(metrics.accuracy_score(labels == 1, predicted >= _THRESHOLD))
        case "brier":
            return float(metrics.brier_score_loss(labels, predicted, pos_label=1, labels=[0, 1]))
        case "rmse":
            return float(metrics.root_mean_squared_error(labels, predicted))
        case "mae":
            return float(metrics.mean_absolute_error(labels, predicted))
        case _:
            return float(metrics.r2_score(labels, predicted))


def resampled(name: str, labels: Array, predicted: Array) -> Resampled:
    """The metric as a function of row counts, with all that does not depend on them done once."""
    match name:
        case "auc":
            return _auc(labels, predicted)
        case "r2":
            return _r2(labels, predicted)
        case "rmse":
            squared = _mean_of((labels - predicted) ** 2)
            return lambda counts: float(numpy.sqrt(squared(counts)))
        case "mae":
            return _mean_of(numpy.abs(labels - predicted))
        case "brier":
            return _mean_of((labels - predicted) ** 2)
        case "accuracy":
            return _mean_of(((predicted >= _THRESHOLD) == (labels == 1)).astype(numpy.float64))
        case _:
            sure = numpy.clip(predicted, _LEAST, 1 - _LEAST)
            return _mean_of(-numpy.where(labels == 1, numpy.log(sure), numpy.log1p(-sure)))


def _check(name: str, labels: Array, predicted: Array) -> None:
    if len(labels) == 0:
        raise ItemFault("no rows with a label")
    if name in _OF_CLASSES and not numpy.isin(labels, (0, 1)).all():
        raise ItemFault(f"{name} needs labels 0 and 1")
    if name in _OF_PROBABILITIES and not ((predicted >= 0) & (predicted <= 1)).all():
        raise ItemFault(
            f"{name} needs probabilities, the model gave {predicted.min():g} to {predicted.max():g}"
        )
    if name == "auc" and labels.min() == labels.max():
        raise ItemFault("auc is not defined: all labels are the same")
    if name == "r2" and labels.min() == labels.max():
        raise ItemFault("r2 is not defined: all labels are the same")


def _mean_of(losses: Array) -> Resampled:
    return lambda counts: float(numpy.sum(counts * losses) / numpy.sum(counts))


def _auc(labels: Array, predicted: Array) -> Resampled:
    """Mann-Whitney: of each positive, how many negatives rank below it, and half of those that tie."""
    order = numpy.argsort(predicted, kind="stable")
    ranked, positive = predicted[order], (labels == 1)[order]
    starts = numpy.flatnonzero(numpy.concatenate(([True], ranked[1:] != ranked[:-1])))

    def value(counts: Array) -> float:
        weights = counts[order].astype(numpy.float64)
        up = numpy.add.reduceat(numpy.where(positive, weights, 0.0), starts)
        down = numpy.add.reduceat(numpy.where(positive, 0.0, weights), starts)
        below = numpy.cumsum(down) - down / 2
        pairs = numpy.sum(up) * numpy.sum(down)
        return float(numpy.sum(up * below) / pairs) if pairs else float("nan")

    return value


def _r2(labels: Array, predicted: Array) -> Resampled:
    centred = labels - labels.mean()  # the same result, and no great numbers to subtract from each other
    squared = (labels - predicted) ** 2

    def value(counts: Array) -> float:
        mean = numpy.sum(counts * centred) / numpy.sum(counts)
        spread = numpy.sum(counts * (centred - mean) ** 2)
        return float(1 - numpy.sum(counts * squared) / spread) if spread > 0 else float("nan")

    return value
