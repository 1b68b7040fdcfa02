"""Promise R21: every behaviour of the simulator says how we know it, and few are assumed."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import localdev.azuresim
from localdev.azuresim import Control, Simulator
from localdev.azuresim.behaviours import SOURCES, Behaviour, behaviours
from tests.azuresim.specifications import specs_dir

PACKAGE = Path(next(iter(localdev.azuresim.__path__)))
MOST_ASSUMED = 0.15

# Calls that make an ARM refusal, and where its code is among the arguments.
_REFUSALS = {"ArmError": 1, "error_object": 0, "_unauthorized": 0}
# Parts that play no Azure: their durations are those of processes on this computer.
_MACHINERY = {"azurite.py", "simulator.py", "proxy.py", "control.py", "throttle.py", "machine_init.py"}


def in_the_code() -> dict[str, str]:
    """Refusals, steps and durations of the package, each with the file it is in."""
    return {
        name: str(file.relative_to(PACKAGE))
        for file in sorted(PACKAGE.rglob("*.py"))
        for name in _named(ast.parse(file.read_text()))
        if not (name.startswith("time:") and file.name in _MACHINERY)
    }


def _named(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _called(node)
        elif isinstance(node, ast.Dict):
            yield from _steps_of_a_table(node)
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            yield from _durations(statement)


def _called(call: ast.Call) -> Iterator[str]:
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    place = 0 if name == "register" else _REFUSALS.get(name)
    if place is None or len(call.args) <= place:
        return
    if text := _text(call.args[place]):
        yield f"{'step' if name == 'register' else 'error'}:{text}"


def _text(node: ast.expr) -> str:
    """A string constant; what an f-string fills in counts as `*`."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _steps_of_a_table(table: ast.Dict) -> Iterator[str]:
    """{"vm.running": self._running, ...}, registered in a loop."""
    for key, value in zip(table.keys, table.values, strict=True):
        is_method = isinstance(value, ast.Attribute) and isinstance(value.value, ast.Name)
        if is_method and isinstance(key, ast.Constant) and isinstance(key.value, str) and "." in key.value:
            yield f"step:{key.value}"


def _durations(statement: ast.Assign) -> Iterator[str]:
    for target in statement.targets:
        for name in target.elts if isinstance(target, ast.Tuple) else [target]:
            if isinstance(name, ast.Name) and name.id.isupper() and name.id.endswith(("_S", "DISK_GIB")):
                yield f"time:{name.id}"


def test_every_behaviour_says_where_it_is_from() -> None:
    for behaviour in behaviours():
        assert behaviour.source in SOURCES, behaviour
        assert behaviour.reference or behaviour.source == "assumed", behaviour
        assert behaviour.what


def test_no_behaviour_is_listed_twice() -> None:
    assert [what for what, count in Counter(b.what for b in behaviours()).items() if count > 1] == []
    assert [name for name, count in Counter(_covered()).items() if count > 1] == []


def test_every_refusal_step_and_duration_of_the_code_is_in_the_table() -> None:
    missing = {name: file for name, file in in_the_code().items() if name not in set(_covered())}
    assert missing == {}


def test_the_table_speaks_of_nothing_that_is_not_in_the_code() -> None:
    assert set(_covered()) - set(in_the_code()) == set()


def test_the_code_is_really_read() -> None:
    """Should a rename blind the reader above, it must not pass for honesty."""
    kinds = Counter(name.partition(":")[0] for name in in_the_code())
    assert kinds["error"] > 30
    assert kinds["step"] > 10
    assert kinds["time"] > 15


def test_few_behaviours_are_assumed() -> None:
    table = behaviours()
    by_source = Counter(behaviour.source for behaviour in table)
    assumed = [behaviour for behaviour in table if behaviour.source == "assumed"]
    print(f"\n{len(table)} behaviours: {dict(by_source)}")
    for behaviour in assumed:
        print(f"  assumed: {_line(behaviour)}")
    assert len(table) > 100
    assert len(assumed) / len(table) <= MOST_ASSUMED


def _covered() -> list[str]:
    return [name for behaviour in behaviours() for name in behaviour.covers]


def _line(behaviour: Behaviour) -> str:
    return behaviour.what + (f" ({behaviour.reference})" if behaviour.reference else "")


@pytest.mark.parametrize("api_version", ["2024-07-01", ""], ids=["2024-07-01", "the SDK's own"])
def test_a_life_through_the_real_sdk_is_as_microsoft_specifies_it(api_version: str) -> None:
    """Every request the SDK sends and every answer it reads is held against the specifications."""
    with Simulator(specs=specs_dir(), storage=False, speed=100) as simulator:
        program = [sys.executable, "-m", "tests.azuresim.sdk_life", api_version]
        environment = {**os.environ, **simulator.env}
        ran = subprocess.run(
            program, env=environment, cwd=PACKAGE.parents[1], capture_output=True, text=True, timeout=120
        )
        control = Control(simulator.control_url)
        wrong = [each for each in control.events() if each["type"] in ("contract_violation", "defect")]
        running = [line for line in control.bill()["lines"] if line["ended"] is None]
    assert ran.returncode == 0, ran.stderr
    assert wrong == []
    assert running == []
    seen = json.loads(ran.stdout)
    assert (seen["created"], seen["power"][-1]) == ("Succeeded", "PowerState/running")
    assert seen["tags"] == {"muster-lease": "l1", "changed": "yes"}
    assert (seen["listed"], seen["disks"], seen["left"]) == (["sdk"], 2, 0)
    assert seen["script"] == ["Succeeded", 0, "hello world\n"]
    assert (seen["at rest"][-1], seen["gone"]) == ("PowerState/deallocated", "ResourceNotFound")
    assert seen["refused"] == ["InvalidParameter", "OperationNotAllowed"]
    assert seen["sizes"] > 30
    assert seen["quotas"] > 10
