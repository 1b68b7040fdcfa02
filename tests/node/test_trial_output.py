"""What a training program may have left behind, file by file: taken as agreed, or refused with the reason."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node.errors import ItemFault
from node.trial_output import collect_output

CARD: dict[str, Any] = {
    "flavor": "sklearn",
    "inputs": [{"name": "x", "type": "double"}],
    "output": {"name": "p", "type": "double"},
    "name": "not yours to say",
}


def _leave(out: Path) -> None:
    out.mkdir()
    (out / "model.joblib").write_bytes(b"a model")
    (out / "MODEL.json").write_text(json.dumps(CARD))
    (out / "metrics.json").write_text('{"auc": 0.75}')


def test_what_is_as_agreed_is_taken_with_its_hash_and_size(tmp_path: Path) -> None:
    _leave(tmp_path / "out")

    taken = collect_output(tmp_path / "out", "late", tmp_path)

    assert taken.model.read_bytes() == b"a model"
    assert taken.sha256 == taken.card["sha256"] == hashlib.sha256(b"a model").hexdigest()
    assert (taken.card["file"], taken.card["size"], taken.metrics) == ("model.joblib", 7, {"auc": 0.75})
    assert "name" not in taken.card


def _card(**changes: Any) -> Callable[[Path], object]:
    return lambda out: (out / "MODEL.json").write_text(json.dumps(CARD | changes))


def _metrics(text: str) -> Callable[[Path], object]:
    return lambda out: (out / "metrics.json").write_text(text)


def _instead(name: str, make: Callable[[Path], object]) -> Callable[[Path], object]:
    def change(out: Path) -> None:
        (out / name).unlink()
        make(out / name)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_metrics('{"auc": NaN}'), "metrics.json: auc is nan, a finite number is expected"),
        (_metrics('{"auc": -Infinity}'), "metrics.json: auc is -inf"),
        (_metrics('{"auc": "0.9"}'), "metrics.json: auc is '0.9'"),
        (_metrics('{"auc": true}'), "metrics.json: auc is True"),
        (_metrics("{}"), "metrics.json names no metric"),
        (_metrics("[1]"), "metrics.json: an object is expected"),
        (_metrics("[" * 100_000), "metrics.json is not JSON"),
        (_metrics(" " * 1_000_000), "metrics.json has 1000000 bytes"),
        (_card(flavor="torch"), "flavor 'torch' is not"),
        (_card(inputs=[]), "inputs are missing"),
        (_card(output=None), "MODEL.json: TypeError"),
        (_card(inputs=[{"name": "late", "type": "long"}]), "the label late is among the model's inputs"),
        (_card(flavor="onnx"), "model.onnx is missing"),
        (_instead("metrics.json", lambda path: None), "metrics.json is missing"),
        (_instead("MODEL.json", lambda path: None), "MODEL.json is missing"),
        (_instead("model.joblib", lambda path: path.touch()), "model.joblib is empty"),
        (_instead("model.joblib", lambda path: os.symlink("/etc/passwd", path)), "is no plain file"),
        (_instead("model.joblib", lambda path: path.mkdir()), "is no plain file"),
        (_instead("metrics.json", lambda path: os.mkfifo(path)), "is no plain file"),
        (lambda out: os.truncate(out / "model.joblib", 3 * 1024**3), "at most 2147483648 are taken"),
    ],
)
def test_what_is_not_as_agreed_is_refused_with_the_reason(
    tmp_path: Path, change: Callable[[Path], object], said: str
) -> None:
    _leave(tmp_path / "out")
    change(tmp_path / "out")

    with pytest.raises(ItemFault) as refused:
        collect_output(tmp_path / "out", "late", tmp_path)

    assert said in str(refused.value)


def test_an_output_folder_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    _leave(tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", tmp_path / "out")

    with pytest.raises(ItemFault, match="the output folder is gone"):
        collect_output(tmp_path / "out", "late", tmp_path)
