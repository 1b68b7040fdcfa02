"""Adding a platform is adding a file: it is found, and held to the contract, with nothing else changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.domain.deployment import SERVING_PLATFORMS
from shared.domain.errors import SpecError
from shared.platforms import platform, platforms, with_machines, with_server

_ADDED = """
from dataclasses import replace
from shared.platforms.local import PLATFORM as LOCAL
PLATFORM = replace(LOCAL, name="added")
"""
# A folder beside the package's own stands for the package's folder: the tree itself stays as it is.
_PLUGIN = "import os, shared.platforms; shared.platforms.__path__.append(os.environ['ADDED_PLATFORMS'])"


def test_a_new_file_is_found_and_held_to_the_whole_contract(tmp_path: Path) -> None:
    (tmp_path / "added").mkdir()
    (tmp_path / "added" / "newcomer.py").write_text(_ADDED)
    (tmp_path / "add_platform.py").write_text(_PLUGIN)

    listed = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "add_platform",
            "--collect-only",
            "tests/platforms/test_contract.py",
        ],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "ADDED_PLATFORMS": str(tmp_path / "added")},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout

    of = {
        name: sum(f"[{name}" in line for line in listed.splitlines()) for name in ("added", "dsvm", "local")
    }
    assert of["added"] == of["dsvm"] == of["local"] > 10


def test_every_platform_says_what_it_is() -> None:
    assert {"dsvm", "local"} <= platforms().keys()
    assert all(name == each.name and each.summary for name, each in platforms().items())
    assert platforms()["dsvm"].bills and not platforms()["local"].bills


def test_what_a_platform_does_not_offer_is_said() -> None:
    assert {"aks", "managed_endpoint"} <= with_server().keys() <= set(SERVING_PLATFORMS)
    assert {"dsvm", "amlcompute", "local"} <= with_machines().keys() and "aks" not in with_machines()
    with pytest.raises(SpecError, match="aks has no machines"):
        _ = platform("aks").provisioner
    with pytest.raises(SpecError, match="aks runs no jobs"):
        _ = platform("aks").jobs
    with pytest.raises(SpecError, match="dsvm serves no models"):
        _ = platform("dsvm").serving


def test_a_platform_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(KeyError, match=r"no platform 'mars'; there are: .*dsvm.*local"):
        platform("mars")
