"""A user who must stay on the GA extension bundle changes requirements.txt and the bundle id, and no code."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
INDEX = "import function_app; print(sorted(f.get_function_name() for f in function_app.app.get_functions()))"


@pytest.fixture(scope="module")
def classic_python() -> Path:
    """The side environment that `make setup` builds: the app's own pins, but the classic durable SDK."""
    python = ROOT / ".build/classic/bin/python"
    assert python.exists(), "run `make setup`: it builds the environment with the classic durable SDK"
    pinned = (ROOT / ".build/classic.txt").read_text()
    assert "azure-functions-durable==1." in pinned and "durable==2" not in pinned, pinned
    return python


def test_the_app_indexes_under_the_classic_sdk_with_the_same_functions(classic_python: Path) -> None:
    classic = _index(classic_python)
    current = [name for name in _index(ROOT / ".venv/bin/python") if not name.startswith("BuiltIn__")]
    assert [name for name in classic if not name.startswith("BuiltIn__")] == current
    assert {"score_batch", "begin_provision", "tick"} <= set(classic)


def _index(python: Path) -> list[str]:
    done = subprocess.run([python, "-c", INDEX], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    names: list[str] = re.findall(r"'([^']+)'", done.stdout)
    return names
