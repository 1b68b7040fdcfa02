"""Runs the command of a job as real processes on the nodes it was given, and says how they ended.

A command takes the wall time it takes. What it sees: its code as working directory, inputs and outputs as paths, the
variables of a job (AZUREML_*, AZURE_ML_INPUT_*, AZURE_ML_OUTPUT_*), the cluster's identity, and the network of a node.
Sources: learn.microsoft.com machine-learning/how-to-train-with-custom-image, how-to-read-write-data-v2,
how-to-identity-based-service-authentication; azure-ai-ml for the placeholders `${{inputs.x}}` and `$[[...]]`.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from localdev.azuresim import estate
from localdev.azuresim.blobs import container_signature
from localdev.azuresim.executor import TAIL_BYTES, Execution, Machine
from localdev.azuresim.ml import job_paths, mlflow, node_identity
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

NOT_MOVED = 70  # job_shell.py: files could not be moved
_ARTIFACTS = estate.ML_DATASTORES[job_paths.ARTIFACT_STORE]
_SHELL = Path(__file__).with_name("job_shell.py")
_LIFETIME = timedelta(days=7)
_OPTIONAL = re.compile(r"\$\[\[(.*?)\]\]")
_PLACEHOLDER = re.compile(r"\$\{\{\s*([\w.]+?)\s*\}\}")
_METRIC = re.compile(r"^metric:\s*([\w.\-]+)\s*=\s*(\S+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Ended:
    """How a job's processes ended; `message` is the end of its log, or why its files could not be moved."""

    exit_code: int
    message: str = ""
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass
class _Live:
    executions: list[Execution]
    folders: list[Path]
    began: float = field(default_factory=time.monotonic)


@dataclass
class _Plan:
    """What one process needs, collected while its command is put together."""

    folder: Path
    downloads: list[dict[str, Any]] = field(default_factory=list)
    uploads: list[dict[str, Any]] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    folders: list[str] = field(default_factory=list)


class Runner:
    """`when_ended(job id, attempt, how, moment)` is called on the event loop when all processes of a job are over."""

    def __init__(self, world: World, when_ended: Callable[[str, Ended, float], None]) -> None:
        self._world, self._when_ended = world, when_ended
        self._live: dict[str, _Live] = {}
        self._containers: set[str] = set()
        world.scheduler.watchers.append(self._look)

    def start(self, job: Resource, cluster: Resource, vms: list[str]) -> None:
        """Raises ArmError if an input leads nowhere."""
        live = _Live([], [])
        machines = [self._world.machines.boot(vm) for vm in vms]
        for rank, (vm, machine) in enumerate(zip(vms, machines, strict=True)):
            plan = self._plan(job, machine, rank)
            variables = {
                **self._variables(job, plan, rank, len(vms)),
                **self._world.machines.identity_variables(vm),
                **node_identity.variables(cluster, job.properties.get("identity") or {}),
            }
            document = self._document(job, plan, variables, rank)
            command = " ".join(map(shlex.quote, (sys.executable, "-I", "-S", str(_SHELL), str(document))))
            live.executions.append(machine.run(f"exec {command}\n", [], [], None))
            live.folders.append(plan.folder)
        self._live[job.id.casefold()] = live

    def stop(self, job: Resource) -> None:
        """End every process of the job, without a word about it."""
        live = self._live.pop(job.id.casefold(), None)
        for execution in live.executions if live else ():
            execution.destroy()

    def is_live(self, job: Resource) -> bool:
        return job.id.casefold() in self._live

    def wall_s(self, job: Resource) -> float:
        """How long its processes have run in wall time; what does not run has had all the time there is."""
        live = self._live.get(job.id.casefold())
        return time.monotonic() - live.began if live else math.inf

    def _look(self, now: float) -> None:
        for id_, live in list(self._live.items()):
            if any(execution.state == "Running" for execution in live.executions):
                continue
            del self._live[id_]
            for execution in live.executions:
                execution.destroy()  # a container takes what it left running along
            self._when_ended(id_, _ended(live), max((each.ended or now) for each in live.executions))

    def _plan(self, job: Resource, machine: Machine, rank: int) -> _Plan:
        root = machine.root / "azureml" / f"{job.name}-{job.state['attempt']}-{rank}"
        plan = _Plan(root / "wd")
        workspace = self._world.store.get(job.id.rpartition("/jobs/")[0])
        assert workspace is not None
        spec = job.properties
        if spec.get("codeId"):
            self._fetch(plan, workspace, str(spec["codeId"]), plan.folder, required=True)
        for name, given in (spec.get("inputs") or {}).items():
            plan.values[f"inputs.{name}"] = self._input(plan, workspace, name, given or {}, root)
        for name, given in spec["outputs"].items():
            if name == "default":
                continue
            plan.values[f"outputs.{name}"] = self._output(plan, workspace, job, name, given, root)
        for name in ("outputs", "logs"):
            plan.folders.append(str(plan.folder / name))
            self._keep(plan, plan.folder / name, _ARTIFACTS, f"{job_paths.artifacts(job.name)}/{name}")
        return plan

    def _input(
        self, plan: _Plan, workspace: Resource, name: str, given: Mapping[str, Any], root: Path
    ) -> str:
        if given.get("jobInputType") == "literal":
            return str(given.get("value", ""))
        uri = str(given.get("uri", ""))
        if given.get("mode") == "Direct":
            return uri
        target = root / "inputs" / name
        if given.get("jobInputType") == "uri_file":
            target = target / (uri.rstrip("/").rpartition("/")[2] or name)
            self._fetch(plan, workspace, uri, target, required=True, is_file=True)
        else:
            self._fetch(plan, workspace, uri, target, required=True)
        return str(target)

    def _output(
        self,
        plan: _Plan,
        workspace: Resource,
        job: Resource,
        name: str,
        given: Mapping[str, Any],
        root: Path,
    ) -> str:
        uri = job_paths.output_uri(job.name, name, given.get("uri"))
        job.properties["outputs"][name]["uri"] = uri
        if given.get("mode") == "Direct":
            return uri
        container, path = job_paths.blobs_of(self._world, workspace, uri)
        target = root / "outputs" / name
        if given.get("jobOutputType") == "uri_file":
            target = target / (path.rstrip("/").rpartition("/")[2] or name)
            plan.folders.append(str(target.parent))
        else:
            plan.folders.append(str(target))
            if given.get("mode") == "ReadWriteMount":  # what is there already is seen by the command
                self._fetch(plan, workspace, uri, target, required=False)
        self._keep(plan, target, container, path)
        return str(target)

    def _fetch(
        self,
        plan: _Plan,
        workspace: Resource,
        uri: str,
        to: Path,
        *,
        required: bool,
        is_file: bool = False,
    ) -> None:
        container, path = job_paths.blobs_of(self._world, workspace, uri)
        place = self._place(container, path, "rl")
        plan.downloads.append({"place": place, "to": str(to), "file": is_file, "required": required})

    def _keep(self, plan: _Plan, source: Path, container: str, path: str) -> None:
        plan.uploads.append({"from": str(source), "place": self._place(container, path, "racwl")})

    def _place(self, container: str, path: str, permissions: str) -> dict[str, str]:
        assert self._world.blobs is not None
        if "w" in permissions and container not in self._containers:
            self._world.blobs.ensure_container(container)
            self._containers.add(container)
        signature = container_signature(container, permissions, _LIFETIME)
        return {
            "container": self._world.blobs.url(container),
            "signature": signature,
            "path": path.lstrip("/"),
        }

    def _variables(self, job: Resource, plan: _Plan, rank: int, nodes: int) -> dict[str, str]:
        given = job.properties.get("environmentVariables") or {}
        place = self._world.store.get(job.id.rpartition("/jobs/")[0])
        assert place is not None
        workspace = place.id.split("/")
        values = {
            f"AZURE_ML_{key.partition('.')[0].removesuffix('s').upper()}_{key.partition('.')[2]}": value
            for key, value in plan.values.items()
        }
        return {
            **values,
            **{name: filled(str(value), plan.values) for name, value in given.items() if value is not None},
            **mlflow.variables(job, place),
            **{f"AZUREML_SWEEP_{name}": text for name, text in job.state.get("drawn", {}).items()},
            "AZUREML_RUN_ID": job.name,
            "AZUREML_ROOT_RUN_ID": job.state.get("root") or job.name,
            "AZUREML_EXPERIMENT_NAME": str(job.properties["experimentName"]),
            "AZUREML_ARM_SUBSCRIPTION": estate.SUBSCRIPTION,
            "AZUREML_ARM_RESOURCEGROUP": workspace[4],
            "AZUREML_ARM_WORKSPACE_NAME": workspace[8],
            "AZUREML_NODE_COUNT": str(nodes),
            "NODE_RANK": str(rank),
        }

    def _document(self, job: Resource, plan: _Plan, variables: dict[str, str], rank: int) -> Path:
        root = plan.folder.parent
        root.mkdir(parents=True, exist_ok=True)
        log_name = f"user_logs/std_log{f'_process_{rank}' if rank else ''}.txt"
        log = root / log_name
        self._keep(plan, log, _ARTIFACTS, f"{job_paths.artifacts(job.name)}/{log_name}")
        place = plan.uploads[-1]["place"]
        signed = (
            f"{place['container']}/{quote(place['path'])}?{container_signature(_ARTIFACTS, 'r', _LIFETIME)}"
        )
        job.state.setdefault("log_files", {})[log_name] = signed
        document = root / "job.json"
        document.touch(mode=0o600)
        document.write_text(
            json.dumps(
                {
                    "command": filled(str(job.properties["command"]), plan.values),
                    "folder": str(plan.folder),
                    "folders": [str(plan.folder), *plan.folders],
                    "environment": variables,
                    "downloads": plan.downloads,
                    "uploads": plan.uploads,
                    "log": str(log),
                }
            )
        )
        return document


def filled(text: str, values: Mapping[str, str]) -> str:
    """filled("a ${{inputs.x}} $[[-y ${{inputs.y}}]]", {"inputs.x": "1"}) -> "a 1 ": what is optional may be absent."""

    def optional(match: re.Match[str]) -> str:
        named = _PLACEHOLDER.findall(match[1])
        return match[1] if all(name in values for name in named) else ""

    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), _OPTIONAL.sub(optional, text))


def _ended(live: _Live) -> Ended:
    codes = [-1 if each.exit_code is None else each.exit_code for each in live.executions]
    worst = next((index for index, code in enumerate(codes) if code), 0)
    root = live.folders[worst].parent
    error = root / "error"
    if codes[worst] == NOT_MOVED and error.exists():
        return Ended(NOT_MOVED, error.read_text())
    logs = sorted((root / "user_logs").glob("*.txt"))
    log = logs[0].read_text(errors="replace") if logs else ""
    return Ended(codes[worst], log[-TAIL_BYTES:], _metrics(live.folders[0], log))


def _metrics(folder: Path, log: str) -> dict[str, float]:
    """What the command measured: outputs/metrics.json ({"auc": 0.7}), and lines `metric: auc=0.7` of its log."""
    found: dict[str, float] = {}
    try:
        written = json.loads((folder / "outputs" / "metrics.json").read_text())
        found = {str(name): float(value) for name, value in written.items() if isinstance(value, int | float)}
    except (OSError, ValueError, AttributeError):
        pass
    for name, value in _METRIC.findall(log):
        try:
            found[name] = float(value)
        except ValueError:
            continue
    return found
