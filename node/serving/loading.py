"""The one model of a deployment: found in AZUREML_MODEL_DIR, held against its promised digest, loaded, asked.

Where the deployment brings code of its own, that code loads and predicts instead; the digest is checked before it runs.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from node.errors import CodeLoadError, ItemFault, ModelLoadError, reason_of
from node.fields import SHA256, is_safe_name
from node.models import CARD, CARD_MAX_BYTES, Model, ModelCard, load_model, parse_card
from node.serving.requests import Rows

MODEL_DIR = "AZUREML_MODEL_DIR"
DIGEST = "MUSTER_MODEL_SHA256"
_CHUNK = 1024 * 1024
_DEEPEST = 2  # Azure ML puts a registered folder below AZUREML_MODEL_DIR, under its own name


class Predictor(Protocol):
    def predict(self, rows: Rows, body: bytes) -> list[Any]:
        """One JSON value for each row. Raises ItemFault with the reason if the model gives anything else."""


def find_model(environment: Mapping[str, str]) -> tuple[Path, ModelCard]:
    """The model's folder and card. Raises ModelLoadError unless its file has the promised digest: nothing is opened."""
    promised, place = environment.get(DIGEST, ""), environment.get(MODEL_DIR, "")
    if not SHA256.fullmatch(promised):
        raise ModelLoadError(f"{DIGEST} is {promised!r}: the deployment must say which model it is to serve")
    folder = _folder(place)
    card = parse_card((folder / CARD).read_bytes()[:CARD_MAX_BYTES])
    found = _digest(folder / card.file)
    if not promised == card.sha256 == found:
        raise ModelLoadError(
            f"wrong digest: the deployment promises sha256 {promised}, {CARD} says {card.sha256}, "
            f"{card.file} has {found}; the model was not opened"
        )
    return folder, card


def load_predictor(folder: Path, card: ModelCard) -> Predictor:
    return _BuiltIn(load_model(folder, card), card)


def load_user_code(code: Path, entry: str, card: ModelCard) -> Predictor:
    """The user's script by Azure ML's convention, its init() called. Raises CodeLoadError."""
    path = code / entry
    if not is_safe_name(entry) or not path.is_file():
        raise CodeLoadError(f"{entry} is not in the deployment's code")
    sys.path.insert(0, str(code))
    try:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(path.stem, module)
        spec.loader.exec_module(module)
        run = module.run
        module.init()
    except Exception as error:  # the user's code may raise anything
        raise CodeLoadError(f"{entry}: {reason_of(error)}") from error
    return _UserCode(run, card)


class _BuiltIn:
    def __init__(self, model: Model, card: ModelCard) -> None:
        self._model, self._card = model, card

    def predict(self, rows: Rows, body: bytes) -> list[Any]:
        try:
            predicted = self._model.predict(as_frame(rows, self._card))
        except Exception as error:  # a model may raise anything at data it was not made for
            raise ItemFault(f"the model raised {reason_of(error)}") from error
        return checked(predicted, rows.count, self._card.output.type)


class _UserCode:
    """`run(raw)` gets the body's text, as Azure ML's server gives it, and returns predictions in our shape or a list."""

    def __init__(self, run: Callable[[str], Any], card: ModelCard) -> None:
        self._run, self._card = run, card

    def predict(self, rows: Rows, body: bytes) -> list[Any]:
        try:
            answer = self._run(body.decode())
            answer = json.loads(answer) if isinstance(answer, str) else answer
        except Exception as error:  # the user's code may raise anything
            raise ItemFault(f"run() raised {reason_of(error)}") from error
        values = answer.get("predictions") if isinstance(answer, dict) else answer
        return checked(values, rows.count, self._card.output.type)


def as_frame(rows: Rows, card: ModelCard) -> Any:
    """A pandas DataFrame with the card's inputs in its order and types, as the batch scorer makes them."""
    import numpy
    import pandas

    types = {"double": numpy.float64, "long": numpy.int64, "boolean": numpy.bool_}
    columns: dict[str, Any] = {
        column.name: numpy.array(rows.columns[column.name], types[column.type])
        if column.type in types  # a quarter of the time that a Series takes; texts it knows by itself
        else rows.columns[column.name]
        for column in card.inputs
    }
    return pandas.DataFrame(columns)


def checked(predicted: Any, count: int, kind: str) -> list[Any]:
    """The predictions as JSON values of the card's output type, one for each row. NaN is no answer."""
    values = predicted.tolist() if hasattr(predicted, "tolist") else predicted
    if not isinstance(values, Sequence) or isinstance(values, str | bytes) or len(values) != count:
        found = len(values) if isinstance(values, Sequence) else type(values).__name__
        raise ItemFault(f"the model gave {found} values for {count} rows")
    made = [_AS[kind](value.item() if hasattr(value, "item") else value) for value in values]
    if bad := sum(value is None for value in made):
        raise ItemFault(
            f"{bad} of {count} predictions are no finite {kind}: the model gave {_first(values, made)}"
        )
    return made


def _first(values: Sequence[Any], made: Sequence[Any]) -> str:
    return repr(values[made.index(None)])[:40]


def _as_double(value: Any) -> float | None:
    try:
        number = float(value) if isinstance(value, bool | int | float) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _as_long(value: Any) -> int | None:
    if isinstance(value, bool | int) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    return None


def _as_string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _as_boolean(value: Any) -> bool | None:
    return bool(value) if isinstance(value, bool | int) and value in (0, 1) else None


_AS: dict[str, Callable[[Any], Any]] = {
    "double": _as_double,
    "long": _as_long,
    "string": _as_string,
    "boolean": _as_boolean,
}


def _folder(place: str) -> Path:
    """Where the card is. Raises ModelLoadError unless there is exactly one."""
    top = Path(place)
    if not place or not top.is_dir():
        raise ModelLoadError(f"{MODEL_DIR} is {place!r}: there is no such folder")
    found = [top] if (top / CARD).is_file() else []
    for depth in range(1, _DEEPEST + 1):
        found = found or [path.parent for path in sorted(top.glob("*/" * depth + CARD))]
    if len(found) != 1:
        raise ModelLoadError(f"{MODEL_DIR} ({place}) has {len(found) or 'no'} {CARD}, one is expected")
    return found[0]


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise ModelLoadError(f"{path.name}: {reason_of(error)}") from error
    return digest.hexdigest()


def one_thread_each() -> None:
    """Requests are the parallelism: a library's own threads would fight over the same cores. Before numpy is imported."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
