"""A conversion job: a scikit-learn model becomes ONNX, and both are asked the same frozen rows.

What is left: the model in runs/<run>/conversion/, and then the record, runs/<run>/conversion.json. This process holds
the machine's identity and opens neither model: one sealed child loads the original and converts it (convert_child.py),
another asks the converted one and compares (convert_compare.py), so that the original cannot answer for its conversion.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any

from node.child import PACKAGE, Ended, clean_environment, run_child
from node.convert_files import COMPARED, CONVERTED, MODEL, PREDICTED, SPECIFICATION
from node.convert_job import ConvertJob, parse_convert_job
from node.document import Document
from node.errors import NodeError
from node.fields import parse_json
from node.frozen import fetch_items, write_json
from node.models import fetch_model
from node.needs import provide
from node.plain_files import read_plain
from node.storage import Store

logger = logging.getLogger(__name__)
REFUSED = 3  # the exit code of a child that says why this model cannot be converted or compared
_NEEDS = Path(__file__).with_name("conversion.txt")
_TOLD = (
    "precision", "opsets", "versions", "original", "converted", "batch_rows", "rows_left_out", "is_classifier",
)  # fmt: skip
_FOUND = ("rows", "max_abs_difference", "mean_abs_difference", "label_flips", "not_finite")
_DOCUMENT_MAX_BYTES = 32 * 1024
_MODEL_MAX_BYTES = 2 * 1024**3  # what a protobuf may have
_COMPARE_TIMEOUT_S = 3600.0


def errand_of(raw: bytes, account_url: str) -> Document:
    """The record of a conversion. A model that cannot be converted has the reason in it."""
    job = parse_convert_job(raw, account_url)
    return Document(
        job.head,
        "conversion",
        job.head.path("conversion.json"),
        lambda store, stop, work: json.dumps(_Attempt(job, store, stop, work).record()).encode(),
        lambda found: int(found["rows"]),
    )


class _Attempt:
    """`_case` is what the children read, `_made` and `_compared` what each of them may write."""

    def __init__(self, job: ConvertJob, store: Store, stop: threading.Event, work: Path) -> None:
        self._job, self._store, self._stop = job, store, stop
        self._case, self._sample, self._made, self._compared = (
            work / name for name in ("case", "sample", "made", "compared")
        )
        for folder in (self._case, self._sample, self._made, self._compared):
            folder.mkdir()
        self._packages = provide(_NEEDS)

    def record(self) -> dict[str, Any]:
        job = self._job
        card = fetch_model(self._store, job.model, self._case)
        fetch_items(self._store, job.sample, self._sample, self._stop)
        specification = {
            "sample": str(self._sample),
            "blobs": [item.blob for item in job.sample],
            "rows": job.rows,
            "opset": job.opset,
            "threshold": job.threshold,
        }
        write_json(self._case / SPECIFICATION, specification)
        record: dict[str, Any] = {
            "to": job.to,
            "model_sha256": job.model.sha256,
            "threshold": job.threshold,
            "size_before": (self._case / card.file).stat().st_size,
            "rows": 0,
        }
        ended = self._run("node.convert_child", self._made, float(job.timeout_s))
        if ended.code != 0:
            return record | {"error": _why(ended, "it was not converted")}
        for name, most in (
            (MODEL, _MODEL_MAX_BYTES),
            (PREDICTED, job.rows * 8),
            (CONVERTED, _DOCUMENT_MAX_BYTES),
        ):
            _take(self._made, name, self._case, most)
        told = _document(self._case / CONVERTED, _TOLD)
        record |= {name: value for name, value in told.items() if name != "is_classifier"}
        ended = self._run("node.convert_compare", self._compared, _COMPARE_TIMEOUT_S)
        if ended.code != 0:
            return record | {"error": _why(ended, "it was not compared")}
        _take(self._compared, COMPARED, self._case, _DOCUMENT_MAX_BYTES)
        record |= _document(self._case / COMPARED, _FOUND)
        record["label_flips"] = record["label_flips"] if told.get("is_classifier") else None
        return record | {"file": self._keep_model()}

    def _run(self, module: str, out: Path, timeout_s: float) -> Ended:
        """A sealed child with the packages of a conversion."""
        paths = [str(PACKAGE), *([str(self._packages)] if self._packages else [])]
        extra = {"PYTHONPATH": os.pathsep.join(reversed(paths)), "PYTHONFAULTHANDLER": "1"}
        return run_child(
            [sys.executable, "-m", module, str(self._case), str(out)],
            folder=out,
            writable=out,
            environment=clean_environment(out, extra),
            stop=self._stop,
            timeout_s=timeout_s,
        )

    def _keep_model(self) -> dict[str, Any]:
        """Put the converted model where the record will say it is, under a name that is its digest's."""
        data = (self._case / MODEL).read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        blob = self._job.head.path("conversion", f"{sha256[:16]}.onnx")
        self._store.create(
            self._job.head.state_container, blob, data, content_type="application/octet-stream"
        )
        return {"blob": blob, "sha256": sha256, "size": len(data)}


def _why(ended: Ended, what: str) -> str:
    """The reason that the child gave. Raises NodeError if it gave none: another machine may come further."""
    if ended.code == REFUSED:
        return ended.words.removeprefix(f"exit code {REFUSED}: ")
    logger.error("a step failed", extra={"said": ended.log.decode(errors="replace")[-2000:]})
    raise NodeError(f"{what}: {ended.words}")


def _take(source: Path, name: str, target: Path, most: int) -> None:
    """A copy that the process which made it cannot change any more. Raises NodeError if it left no plain file."""
    try:
        data = read_plain(source, name, most)
    except OSError as error:
        raise NodeError(f"the conversion left no {name}: {error}") from error
    if len(data) > most:
        raise NodeError(f"{name} has more than {most} bytes")
    (target / name).write_bytes(data)


def _document(path: Path, known: tuple[str, ...]) -> dict[str, Any]:
    found = parse_json(path.read_bytes())
    if not isinstance(found, dict):
        raise NodeError(f"{path.name} is no JSON object")
    return {name: found[name] for name in known if name in found}
