"""The house's rules that a tool can check. import-linter has the imports; this has the rest."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
REPLAYED = [*(ROOT / "orchestrators").glob("*.py"), *(ROOT / "shared" / "durable").glob("*.py")]
TOP_LEVEL = {
    "function_app.py", "orchestrators", "activities", "shared", "host.json", "requirements.txt", "tests", "README.md",
    "node", "workloads", "localdev", "infra", "docs", "bench",
    "Makefile", "pyproject.toml", "requirements-dev.txt", "constraints.txt",
}  # fmt: skip


def _tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.split("\n")[:-1]


def _functions(path: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            yield node


def test_import_contracts_hold() -> None:
    tool = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_the_top_level_is_the_agreed_one() -> None:
    found = {path.split("/")[0] for path in _tracked()}
    assert {f for f in found if not f.startswith(".")} <= TOP_LEVEL


@pytest.mark.parametrize("path", REPLAYED, ids=lambda p: p.name)
def test_replayed_code_asks_nothing_of_the_outside(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    names = {c.func.attr for c in calls if isinstance(c.func, ast.Attribute)}
    names |= {c.func.id for c in calls if isinstance(c.func, ast.Name)}
    assert not names & {"now", "utcnow", "today", "open", "print", "getenv", "uuid4", "random"}


@pytest.mark.parametrize("path", REPLAYED, ids=lambda p: p.name)
def test_no_yield_stands_in_a_finally(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Try):
            inside = [n for part in node.finalbody for n in ast.walk(part)]
            assert not any(isinstance(n, ast.Yield | ast.YieldFrom) for n in inside), (
                f"{path.name}:{node.lineno}"
            )


@pytest.mark.parametrize("path", REPLAYED, ids=lambda p: p.name)
def test_every_timer_raced_in_task_any_is_cancelled(path: Path) -> None:
    for function in _functions(path):
        attributes = {n.attr for n in ast.walk(function) if isinstance(n, ast.Attribute)}
        if {"task_any", "create_timer"} <= attributes:
            assert "cancel" in attributes, f"{path.name}:{function.lineno} {function.name}"


AZURE_LOADED = "print(sorted({m.split('.')[1] for m in sys.modules if m.startswith('azure.')}))"
LOAD_ALL = """
import importlib, pkgutil, sys
import function_app
for name in ("orchestrators", "activities", "shared"):
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""


def _python(script: str, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.strip()


def test_nothing_that_the_app_imports_loads_an_azure_sdk() -> None:
    """Each is imported by the function that uses it: azure.ai.ml alone is a second and 107 MB."""
    assert _python(f"{LOAD_ALL}\n{AZURE_LOADED}") == "['durable_functions', 'functions']"


def test_an_app_that_is_only_indexed_loads_neither_models_nor_steps() -> None:
    heavy = "{'pydantic', 'yaml', 'cronsim', 'activities', 'orchestrators', 'node', 'shared.domain'}"
    assert _python(f"import sys, function_app; print(sorted({heavy} & sys.modules.keys()))") == "[]"


def test_every_step_of_the_table_is_indexed_and_found_in_its_home() -> None:
    found = _python(
        "import function_app\n"
        "from shared.durable import contracts, index\n"
        "indexed = {f.get_function_name() for f in function_app.app.get_functions()}\n"
        "table = {v.name for v in vars(contracts).values() if isinstance(v, contracts.Step)}\n"
        "assert table == index.homes.keys() and table <= indexed, table ^ index.homes.keys()\n"
        "for name in table: index.runner(name)\n"
        "print(len(table))"
    )
    assert int(found) > 20


def test_every_route_needs_a_function_key() -> None:
    levels = _python(
        "import function_app\n"
        "bindings = [b for f in function_app.app.get_functions() for b in f.get_bindings_dict()['bindings']]\n"
        "print(sorted({b['authLevel'].value for b in bindings if b['type'] == 'httpTrigger'}))"
    )
    assert levels == "['function']"


def test_the_app_imports_from_what_is_deployed(tmp_path: Path) -> None:
    """A copy made by .funcignore must be whole: nothing deployed leans on what stays behind."""
    ignored = [line.strip() for line in (ROOT / ".funcignore").read_text().splitlines() if line.strip()]
    for path in _tracked():
        if not any(Path(path).parts[0] == i or Path(path).match(i) for i in ignored):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, tmp_path / path)
    assert not (tmp_path / "localdev").exists() and not (tmp_path / "tests").exists()
    assert int(_python(f"{LOAD_ALL}\nprint(len(function_app.app.get_functions()))", tmp_path)) > 20


def test_no_file_holds_two_nouns() -> None:
    """A module past 400 lines has two nouns; find the second."""
    long = {
        p: n for p in _tracked() if p.endswith(".py") if (n := len((ROOT / p).read_text().splitlines())) > 400
    }
    assert long == {}


def test_no_function_is_longer_than_a_screen() -> None:
    halls = [
        f"{path}:{node.lineno} {node.name}"
        for path in _tracked()
        if path.endswith(".py")
        for node in ast.walk(ast.parse((ROOT / path).read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno > 60
    ]
    assert halls == []
