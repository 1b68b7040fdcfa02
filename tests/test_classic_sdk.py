"""A user who must stay on the GA extension bundle changes requirements.txt and the bundle id, and no code."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CLASSIC = "azure-functions-durable==1.7.0"
INDEX = "import function_app; print(sorted(f.get_function_name() for f in function_app.app.get_functions()))"


@pytest.fixture(scope="module")
def classic_python() -> Path:
    """A side environment with the app's own pins, but the classic durable SDK."""
    uv, home = ROOT / ".build/tools/bin/uv", ROOT / ".build/classic"
    requirements = (ROOT / "requirements.txt").read_text()
    classic = re.sub(r"azure-functions-durable==\S+", CLASSIC, requirements)
    # Indexing needs no Azure SDK, nor the worker of the new one.
    lean = [
        line
        for line in classic.splitlines()
        if not re.match(r"azure-(mgmt|ai|eventgrid|storage|identity|functions-runtime)", line)
    ]
    assert CLASSIC in classic
    subprocess.run(
        [uv, "venv", "--quiet", "--allow-existing", "--python", ROOT / ".venv/bin/python", home], check=True
    )
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--python", home / "bin/python", "-r", "-"],
        input="\n".join(lean), text=True, check=True,
    )  # fmt: skip
    return home / "bin/python"


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
