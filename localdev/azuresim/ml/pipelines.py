"""Pipeline jobs: steps that are command components, each begun when the steps whose outputs it reads have completed.

Shape: mfe.json 2024-01-01-preview (PipelineJob, where `jobs` and `settings` are free objects), filled as azure-ai-ml
1.35.2 sends them. Rules: learn.microsoft.com machine-learning/how-to-create-component-pipelines-cli, and for
continue_on_step_failure azure-ai-ml's PipelineJobSettings.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any

from localdev.azuresim.errors import ArmError, not_simulated
from localdev.azuresim.ml import job_paths, job_spec
from localdev.azuresim.ml.common import user_error
from localdev.azuresim.ml.job_life import OVER, JobLife
from localdev.azuresim.ml.parents import children, submit
from localdev.azuresim.store import Resource
from localdev.azuresim.world import World

_STEP_OUTPUT = re.compile(r"\$\{\{\s*parent\.jobs\.(\w+)\.outputs\.(\w+)\s*\}\}")
_PARENT_INPUT = re.compile(r"\$\{\{\s*parent\.inputs\.(\w+)\s*\}\}")
_PARENT_OUTPUT = re.compile(r"\$\{\{\s*parent\.outputs\.(\w+)\s*\}\}")


class Pipelines:
    def __init__(self, world: World, life: JobLife) -> None:
        self._world, self._life = world, life

    def prepare(self, job: Resource) -> None:
        steps = job.properties["jobs"]
        for name, step in steps.items():
            if step.get("type", "command") != "command":
                raise not_simulated(f"A step of type {step['type']}", f"properties.jobs.{name}")
            self._component(name, step)
            self._check_compute(job, step)
            for other, _ in _sources(step):
                if other not in steps:
                    raise user_error(
                        400, f"The step '{name}' reads an output of '{other}', which is no step."
                    )
        for name, given in job.properties["outputs"].items():
            given["uri"] = job_paths.output_uri(job.name, name, given.get("uri"))
        job.state["steps"] = {}

    def advance(self, job: Resource, at: float) -> tuple[str, str] | None:
        steps: dict[str, str] = job.state["steps"]  # the child's name by that of its step
        statuses = {child.name: child.properties["status"] for child in children(self._world, job)}
        failed = [step for step, child in steps.items() if statuses[child] in ("Failed", "Canceled")]
        if failed and not _continues(job):
            for child in children(self._world, job):
                self._life.cancel(child, at)
        else:
            for name in [name for name in job.properties["jobs"] if name not in steps]:
                needed = {other for other, _ in _sources(job.properties["jobs"][name])}
                if all(statuses.get(steps.get(other, "")) == "Completed" for other in needed):
                    try:
                        statuses[self._submit(job, name, at)] = "NotStarted"
                    except ArmError as error:
                        return "Failed", f"The step '{name}' could not be submitted: {error.message}"
        if any(status not in OVER for status in statuses.values()):
            return None
        if failed:
            return "Failed", f"Pipeline has child jobs that failed: {', '.join(sorted(failed))}."
        return "Completed", ""

    def _submit(self, job: Resource, name: str, at: float) -> str:
        step = job.properties["jobs"][name]
        spec = self._component(name, step)
        asked = {
            "command": spec["command"],
            "environmentId": spec["environment"],
            "codeId": spec.get("code"),
            "computeId": _compute(job, step),
            "identity": step.get("identity"),
            "displayName": name,
            "tags": {**job.properties["tags"], **(step.get("tags") or {})},
            "environmentVariables": step.get("environment_variables") or spec.get("environment_variables"),
            "resources": _resources(step, spec),
            "limits": _limits(step),
            "inputs": self._inputs(job, step, spec),
            "outputs": _outputs(job, step, spec),
        }
        child = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{job.id}/{name}"))
        asked = {key: value for key, value in asked.items() if value}
        submit(self._world, self._life, job, child, asked, at)
        job.state["steps"][name] = child
        return child

    def _inputs(
        self, job: Resource, step: Mapping[str, Any], spec: Mapping[str, Any]
    ) -> dict[str, dict[str, Any]]:
        found = {}
        for name, declared in (spec.get("inputs") or {}).items():
            given = (step.get("inputs") or {}).get(name)
            if given is not None:
                found[name] = self._input(job, given, str(declared.get("type", "uri_folder")))
            elif declared.get("default") is not None:
                found[name] = {"jobInputType": "literal", "value": str(declared["default"])}
            elif not declared.get("optional"):
                raise user_error(400, f"The input '{name}' of the component has no value.")
        return found

    def _input(self, job: Resource, given: Mapping[str, Any], declared: str) -> dict[str, Any]:
        """An input as a command job has it: from the pipeline's inputs, another step's output, or as it is."""
        if given.get("uri"):
            mode = {"mode": given["mode"]} if given.get("mode") else {}
            return {"jobInputType": given.get("job_input_type", declared), "uri": given["uri"], **mode}
        value = str(given.get("value", ""))
        if match := _STEP_OUTPUT.fullmatch(value):
            source = self._world.store.get(f"{job.id.rpartition('/')[0]}/{job.state['steps'][match[1]]}")
            assert source is not None
            return {"jobInputType": declared, "uri": source.properties["outputs"][match[2]]["uri"]}
        inputs = job.properties.get("inputs") or {}
        if match := _PARENT_INPUT.fullmatch(value):
            if match[1] not in inputs:
                raise user_error(400, f"The pipeline has no input '{match[1]}'.")
            return dict(inputs[match[1]])
        text = _PARENT_INPUT.sub(lambda match: str(inputs.get(match[1], {}).get("value", "")), value)
        return {"jobInputType": "literal", "value": text}

    def _component(self, name: str, step: Mapping[str, Any]) -> dict[str, Any]:
        found = self._world.store.get(str(step.get("componentId", "")).removeprefix("azureml:"))
        if found is None:
            raise user_error(400, f"The component of step '{name}' was not found.")
        spec: dict[str, Any] = found.properties["componentSpec"]
        return spec

    def _check_compute(self, job: Resource, step: Mapping[str, Any]) -> None:
        workspace = self._world.store.get(job.id.rpartition("/jobs/")[0])
        assert workspace is not None
        job_spec.compute_of(self._world, workspace, _compute(job, step))


def _sources(step: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(step, output) pairs a step reads."""
    values = (str((given or {}).get("value", "")) for given in (step.get("inputs") or {}).values())
    return [match for value in values for match in _STEP_OUTPUT.findall(value)]


def _outputs(job: Resource, step: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    found = {}
    for name, declared in (spec.get("outputs") or {}).items():
        given = (step.get("outputs") or {}).get(name) or {}
        output = {"jobOutputType": declared.get("type", "uri_folder")}
        if match := _PARENT_OUTPUT.fullmatch(str(given.get("value", ""))):
            output["uri"] = job.properties["outputs"][match[1]]["uri"]
        elif given.get("uri"):
            output["uri"] = given["uri"]
        found[name] = output
    return found


def _compute(job: Resource, step: Mapping[str, Any]) -> str:
    settings = job.properties.get("settings") or {}
    return str(
        step.get("computeId") or job.properties.get("computeId") or settings.get("default_compute") or ""
    )


def _resources(step: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any] | None:
    given = step.get("resources") or spec.get("resources") or {}
    count = given.get("instance_count") or given.get("instanceCount")
    return {"instanceCount": int(count)} if count else None


def _limits(step: Mapping[str, Any]) -> dict[str, Any] | None:
    timeout = (step.get("limits") or {}).get("timeout")
    return {"jobLimitsType": "Command", "timeout": str(timeout)} if timeout else None


def _continues(job: Resource) -> bool:
    return bool((job.properties.get("settings") or {}).get("continue_on_step_failure"))
