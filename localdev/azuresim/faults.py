"""Faults on purpose: what goes wrong, at which operation, at which call.

A fault names an ARM operation (`Microsoft.Compute/virtualMachines/write`, `.../deallocate/action`; `*`
matches) and counts the calls to it, so that a test can say "the second PUT of this machine is answered 429,
three times". Faults come from a YAML or JSON file, a list of entries such as:

    - preset: sku-not-available          # code and text of fault_presets.yaml; every key may be overridden
      nth: 1                             # first call that is hit (default 1)
      times: 2                           # how often it strikes (default 1; 0 = always)
      every: 1                           # from `nth` on, each call (default), each second one, ...
      resource: "*/virtualMachines/a-*"  # only resources whose id, or name, matches
    - operation: Microsoft.Compute/virtualMachines/delete
      kind: status
      status: 429
      code: TooManyRequests
      headers: {Retry-After: "30"}
"""

from __future__ import annotations

import fnmatch
import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

Kind = Literal[
    "status",  # the call is refused: `status`, `code`, `message`, `headers`
    "async_failure",  # the call is accepted, its operation ends `async_status` with `code` and `message`
    "stuck",  # the call is accepted, its operation never ends
    "lost_response",  # the call takes effect, its caller gets a broken connection
    "delay",  # the operation takes `seconds` longer
    "leave_behind",  # a machine's delete spares the types in `leave`, whatever their deleteOption
    "vanish",  # `after_s` after the machine runs it is gone, with all that is set to go with it
    "evict",  # `after_s` after the machine runs it is evicted, by its Spot eviction policy
    "boot_never_ready",  # the machine never reaches Succeeded and its agent never answers
    "script_fails",  # the run command's script, or the job's command, is not run: it ends at once with `exit_code`
    "script_hangs",  # the run command's script, or the job's command, is not run: it never ends
    "not_responding",  # `after_s` after the job runs nothing is heard of it, for `seconds` or (0) ever again
    "metrics_missing",  # Azure Monitor tells nothing of the endpoint
    "metrics_stale",  # ... nothing of the last `seconds`
    "resize_stuck",  # the cluster's nodes never come: it stays in Resizing
]
KINDS: tuple[str, ...] = get_args(Kind)
LEAVABLE = ("networkInterfaces", "publicIPAddresses", "disks", "schedules")

_NEEDED = {
    "status": ("status", "code"),
    "async_failure": ("code",),
    "delay": ("seconds",),
    "metrics_stale": ("seconds",),
    "leave_behind": ("leave",),
}
_NUMBERS: dict[str, tuple[Any, int]] = {
    "nth": (int, 1),
    "times": (int, 0),
    "every": (int, 1),
    "status": (int, 100),
    "exit_code": (int, -1),
    "seconds": ((int, float), 0),
    "after_s": ((int, float), 0),
}
# What a text says where the caller of `take` gave no better fact.
_SAMPLES = {
    "location": "westeurope",
    "size": "Standard_D4s_v5",
    "family": "standardDSv5Family",
    "limit": "10",
    "usage": "8",
    "required": "4",
    "new_limit": "12",
    "client": "00000000-0000-0000-0000-00000000c11e",
    "now": "2026-01-01T00:00:00Z",
}


PRESETS: Mapping[str, Mapping[str, Any]] = yaml.safe_load(
    resources.files(__package__).joinpath("fault_presets.yaml").read_text()
)


class FaultError(ValueError):
    """The fault file is wrong; `problems` lists everything wrong with it, each with its place."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Fault:
    kind: Kind
    operation: str
    resource: str = "*"
    nth: int = 1
    times: int = 1
    every: int = 1
    status: int = 500
    code: str = ""
    message: str = ""
    target: str = ""
    details: list[dict[str, Any]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    async_status: str = "Failed"
    seconds: float = 0.0
    after_s: float = 0.0
    exit_code: int = 1
    leave: list[str] = field(default_factory=list)
    log: str = ""  # what the container of a deployment that fails so has written
    row: str = ""
    source: str = ""
    preset: str = ""

    def error(self) -> dict[str, Any]:
        """The `error` object of an ARM answer."""
        body: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.target:
            body["target"] = self.target
        if self.details:
            body["details"] = self.details
        return body


@dataclass
class _Armed:
    fault: Fault
    calls: int = 0
    struck: int = 0

    def is_due(self) -> bool:
        spent = 0 < self.fault.times <= self.struck
        since = self.calls - self.fault.nth
        return not spent and since >= 0 and since % self.fault.every == 0


class Faults:
    """The armed faults and their counters. Safe to call from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[_Armed] = []

    @classmethod
    def from_file(cls, path: Path) -> Faults:
        """Raises FaultError naming every mistake of the file at once."""
        try:
            entries = yaml.safe_load(path.read_text())
        except yaml.YAMLError as error:
            raise FaultError([f"{path.name}: not YAML or JSON: {error}"]) from error
        if isinstance(entries, dict) and set(entries) == {"faults"}:
            entries = entries["faults"]
        if not isinstance(entries, list):
            raise FaultError([f"{path.name}: expected a list of faults, got {type(entries).__name__}"])
        faults = cls()
        faults.load(entries)
        return faults

    def load(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Replace all faults. Raises FaultError with every mistake in every entry, and then changes
        nothing."""
        problems: list[str] = []
        armed: list[_Armed] = []
        for index, entry in enumerate(entries):
            try:
                armed.append(_Armed(_parse(entry)))
            except FaultError as error:
                problems += [f"faults[{index}]{problem}" for problem in error.problems]
        if problems:
            raise FaultError(problems)
        with self._lock:
            self._armed = armed

    def add(self, entry: Mapping[str, Any]) -> Fault:
        fault = _parse(entry)
        with self._lock:
            self._armed.append(_Armed(fault))
        return fault

    def clear(self) -> None:
        with self._lock:
            self._armed = []

    def take(
        self, operation: str, resource_id: str = "", facts: Mapping[str, str] | None = None
    ) -> Fault | None:
        """Count one call, and give the fault that strikes it, its texts filled in, or None.

        One fault strikes per call, in the order of the list; another that was due stays due for the next
        call if its `every` allows. `facts` (size, location, family, limit, ...) replace the sample values
        of the texts.
        """
        with self._lock:
            struck = None
            for armed in self._armed:
                if not _matches(armed.fault, operation, resource_id):
                    continue
                armed.calls += 1
                if struck is None and armed.is_due():
                    armed.struck += 1
                    struck = armed.fault
        return _fill_in(struck, operation, resource_id, facts or {}) if struck else None

    def report(self) -> list[dict[str, Any]]:
        """Each fault with how many calls it saw and how often it struck: a test must not pass because none
        did."""
        with self._lock:
            return [
                {
                    "preset": armed.fault.preset,
                    "kind": armed.fault.kind,
                    "operation": armed.fault.operation,
                    "resource": armed.fault.resource,
                    "calls": armed.calls,
                    "struck": armed.struck,
                }
                for armed in self._armed
            ]


def _matches(fault: Fault, operation: str, resource_id: str) -> bool:
    if not fnmatch.fnmatchcase(operation.casefold(), fault.operation.casefold()):
        return False
    glob, wanted = fault.resource.casefold(), resource_id.casefold()
    return fnmatch.fnmatchcase(wanted, glob) or fnmatch.fnmatchcase(wanted.rpartition("/")[2], glob)


def _fill_in(fault: Fault, operation: str, resource_id: str, facts: Mapping[str, str]) -> Fault:
    parts = resource_id.strip("/").split("/")
    known = dict(zip((part.casefold() for part in parts[::2]), parts[1::2], strict=False))
    values = {
        **_SAMPLES,
        "operation": operation,
        "resource_id": resource_id,
        "parent_id": "/" + "/".join(parts[:-2]),
        "name": parts[-1],
        "type": operation.rpartition("/")[0],
        "action": operation.removesuffix("/action").rpartition("/")[2],
        "subscription": known.get("subscriptions", "00000000-0000-0000-0000-000000000000"),
        "resource_group": known.get("resourcegroups", ""),
        **facts,
    }

    def filled(text: str) -> str:
        for name, value in values.items():
            text = text.replace("{" + name + "}", value)
        return text

    return replace(fault, message=filled(fault.message), target=filled(fault.target))


def _parse(entry: Mapping[str, Any]) -> Fault:
    if not isinstance(entry, Mapping):
        raise FaultError([f": expected a mapping, got {type(entry).__name__}"])
    problems: list[str] = []
    given = dict(entry)
    preset = given.get("preset", "")
    if isinstance(preset, str) and "_" in preset:  # image_build_failure is image-build-failure
        preset = given["preset"] = preset.replace("_", "-")
    if preset:
        if preset not in PRESETS:
            known = ", ".join(sorted(PRESETS))
            raise FaultError([f".preset: no preset named {preset!r}; there are: {known}"])
        given = {**PRESETS[preset], **given}
    given.setdefault("resource", "*")
    problems += _unknown_keys(given)
    problems += _wrong_values(given)
    if problems:
        raise FaultError(problems)
    return Fault(**given)


def _unknown_keys(given: Mapping[str, Any]) -> list[str]:
    known = [each.name for each in fields(Fault)]
    return [f".{key}: unknown key; there are: {', '.join(known)}" for key in given if key not in known]


def _wrong_values(given: Mapping[str, Any]) -> list[str]:
    problems = []
    kind = given.get("kind")
    if kind not in KINDS:
        problems.append(f".kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    if not isinstance(given.get("operation"), str) or not given["operation"]:
        example = "Microsoft.Compute/virtualMachines/write"
        problems.append(f".operation: an ARM operation is needed, for example {example}")
    for needed in _NEEDED.get(str(kind), ()):
        if not given.get(needed):
            problems.append(f".{needed}: needed by kind {kind}")
    for key, (types, least) in _NUMBERS.items():
        value = given.get(key, least)
        if not isinstance(value, types) or isinstance(value, bool) or value < least:
            problems.append(f".{key}: expected a number of at least {least}, got {value!r}")
    headers = given.get("headers", {})
    if not isinstance(headers, Mapping) or not all(isinstance(value, str) for value in headers.values()):
        problems.append(f".headers: expected names with text values, got {json.dumps(headers, default=str)}")
    leave = given.get("leave", [])
    if not isinstance(leave, list) or not set(map(str, leave)) <= set(LEAVABLE):
        problems.append(f".leave: expected some of {', '.join(LEAVABLE)}, got {leave!r}")
    return problems
