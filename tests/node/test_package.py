"""What is sent to a machine: one zip with the same bytes each time, and one script that never changes."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from node.package import BlobReference, bootstrap_parameter, build_package, build_zip
from tests.node.estate import ACCOUNT_URL, ROOT


def test_the_zip_is_the_same_from_another_process_whatever_the_files_dates() -> None:
    script = "from node.package import build_package; print(build_package().digest)"
    env = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "PYTHONDONTWRITEBYTECODE": "1"}

    there = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )

    assert there.stdout.strip() == build_package().digest


def test_a_zip_depends_on_names_and_contents_alone(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for path in (one, two):
        path.write_text("same")
    os.utime(two, (0, 0))
    two.chmod(0o755)

    assert build_zip({"a": one, "b": two}) == build_zip({"b": one, "a": two})
    two.write_text("other")
    assert build_zip({"a": one, "b": two}) != build_zip({"a": one, "b": one})


def test_the_agent_runs_from_its_zip_alone_and_imports_nothing_of_the_app(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(build_package().data)) as archive:
        archive.extractall(tmp_path)
    probe = (
        "import sys, node.agent, node.shard, node.usercode, node.scoring, node.training, node.seal, node.units\n"
        "import node.evaluation, node.test_set, node.prediction, node.comparison, node.drift, node.drift_child\n"
        "ours = {name.split('.')[0] for name in sys.modules}\n"
        "print(sorted(ours & {'shared', 'localdev', 'activities', 'orchestrators', 'function_app'}))"
    )

    ran = subprocess.run(
        [sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert (ran.returncode, ran.stdout.strip()) == (0, "[]"), ran.stderr
    assert not (tmp_path / "node" / "package.py").exists()


def test_the_app_can_import_the_packager_with_the_standard_library_alone() -> None:
    probe = "import sys, node.package; print([n for n in ('azure', 'pandas', 'pyarrow', 'node.job') if n in sys.modules])"

    ran = subprocess.run(
        [sys.executable, "-S", "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert ran.stdout.strip() == "[]"


def test_the_parameter_is_one_word_whatever_it_carries() -> None:
    agent = BlobReference("muster", "code/$(reboot) `x` ' \" \n {{y}}", "0" * 64)

    value = bootstrap_parameter(ACCOUNT_URL, agent, agent, None)

    assert set(value) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=")
    assert json.loads(base64.b64decode(value))["agent"]["blob"] == agent.blob


def test_a_python_that_lacks_or_has_another_version_of_a_need_is_told_so(tmp_path: Path) -> None:
    def ensure(text: str) -> tuple[int, str]:
        path = tmp_path / "requirements.txt"
        path.write_text(text)
        ran = subprocess.run(
            [sys.executable, str(ROOT / "node/ensure.py"), str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        return ran.returncode, ran.stderr

    assert ensure((ROOT / "node/requirements.txt").read_text()) == (0, "")
    assert ensure("# why\n\nnumpy==0.0.1  # old\nno-such-thing==1\n")[0] == 1
    assert "lacks numpy 0.0.1 (" in ensure("numpy==0.0.1\n")[1]
    assert ensure("numpy>=2\n")[0] == 1
