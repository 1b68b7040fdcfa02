"""Copies of the repository in which tests are run: whatever git knows or would add, and the tools by reference."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from node.lifeline import die_with_parent
from tests.mutants.mutant import ROOT

TIME_LIMIT_S = 300
TOOLS = ("localdev/azurite/node_modules", ".build/inference")
_RED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Verdict:
    """How pytest ended. `red`: node ids that failed. `said`: the end of its output, for a person."""

    exit_code: int | None  # None: it was still running at the time limit
    red: tuple[str, ...]
    seconds: float
    said: str

    @property
    def is_green(self) -> bool:
        return self.exit_code == 0

    @property
    def is_red(self) -> bool:
        """Tests ran and one failed. A file that could not be collected, or no test at all, proves nothing."""
        return self.exit_code == 1 and bool(self.red)


def copy_repository(to: Path) -> Path:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        source, target = ROOT / name, to / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    for name in TOOLS:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).symlink_to(ROOT / name)
    return to


def run_tests(root: Path, tests: Sequence[str], *, first_failure: bool = True) -> Verdict:
    """Run `tests` in the copy at `root` with this Python."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--tb=line",
        "-rfE",
        *(["-x"] if first_failure else []),
        *tests,
    ]
    environment = {**os.environ, "PYTHONPATH": str(root), "COLUMNS": "400"}
    begun = time.monotonic()
    process = subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True, preexec_fn=die_with_parent,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=TIME_LIMIT_S)
        code: int | None = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        code = None
    return Verdict(code, tuple(_RED.findall(said)), time.monotonic() - begun, said[-3000:])
