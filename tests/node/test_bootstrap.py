"""The script of the managed run command, run as Azure's Linux agent runs it: bash -c, the parameter in the environment.

The machine's own python3 is this project's, which has what the agent needs; making an environment through uv takes a
package index and minutes, and is not tested here.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from node.package import PARAMETER, BlobReference, bootstrap_parameter, bootstrap_script, build_package
from tests.node.estate import ACCOUNT_URL, CLIENT_ID, REFUSED_CLIENT_ID
from tests.node.jobs import Bench, as_parquet, some_rows


def _run(bench: Bench, home: Path, value: str) -> subprocess.CompletedProcess[str]:
    script = home / "script.sh"
    script.write_text(bootstrap_script())
    script.chmod(0o500)
    env = {**bench.estate.env, "HOME": str(home), PARAMETER: value}
    return subprocess.run(
        ["/bin/bash", "-c", str(script)],
        cwd=home,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def agent(bench: Bench) -> BlobReference:
    package = build_package()
    blob = f"code/node-{package.digest}.zip"
    bench.put(bench.state, blob, package.data)
    return BlobReference(bench.state, blob, package.digest)


def test_a_bare_machine_fetches_the_agent_and_scores(
    bench: Bench, agent: BlobReference, model: Any, tmp_path: Path
) -> None:
    bench.sklearn(model)
    shard = bench.shard(bench.item("flights/1.parquet", as_parquet(some_rows(1))))

    ran = _run(bench, tmp_path, bootstrap_parameter(ACCOUNT_URL, agent, bench.stored_job(), CLIENT_ID))

    assert ran.returncode == 0, ran.stderr
    assert bench.outcomes(shard) == [("flights/1.parquet", "scored", 40, 1)]
    assert (tmp_path / ".muster" / agent.sha256 / "node" / "agent.py").is_file()


def test_the_agents_exit_code_is_the_scripts(bench: Bench, agent: BlobReference, tmp_path: Path) -> None:
    missing = BlobReference(bench.state, "runs/none.json", "0" * 64)

    ran = _run(bench, tmp_path, bootstrap_parameter(ACCOUNT_URL, agent, missing, CLIENT_ID))

    assert ran.returncode == 2, ran.stderr
    assert "BlobNotFound" in ran.stderr


def test_an_agent_that_was_not_promised_is_not_run(
    bench: Bench, agent: BlobReference, tmp_path: Path
) -> None:
    other = dataclasses.replace(agent, sha256="0" * 64)

    ran = _run(bench, tmp_path, bootstrap_parameter(ACCOUNT_URL, other, bench.stored_job(), CLIENT_ID))

    assert ran.returncode == 2
    assert f"the agent has sha256 {agent.sha256}" in ran.stderr
    assert list((tmp_path / ".muster").iterdir()) == []


def test_an_identity_that_is_refused_ends_with_4(bench: Bench, agent: BlobReference, tmp_path: Path) -> None:
    ran = _run(bench, tmp_path, bootstrap_parameter(ACCOUNT_URL, agent, agent, REFUSED_CLIENT_ID))

    assert (ran.returncode, "identity: HTTP 400" in ran.stderr) == (4, True)


HOSTILE = [
    "",
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned",
    "' ; touch pwned '",
    '"',
    "\n touch pwned",
    "{{x}}",
    "*",
]


@pytest.mark.parametrize("payload", HOSTILE)
def test_nothing_in_the_parameter_is_ever_run(bench: Bench, tmp_path: Path, payload: str) -> None:
    raw = _run(bench, tmp_path, payload)
    evil = BlobReference(payload or "x", payload or "x", payload or "x")
    wrapped = _run(bench, tmp_path, bootstrap_parameter(payload or "x", evil, evil, payload or "x"))
    listed = _run(bench, tmp_path, base64.b64encode(json.dumps([payload]).encode()).decode())

    assert [ran.returncode for ran in (raw, wrapped, listed)] == [2, 2, 2]
    assert not list(tmp_path.rglob("pwned"))
