"""How deployments fail, in Azure's codes and words, and what their logs begin with.

Sources: learn.microsoft.com machine-learning/how-to-troubleshoot-online-endpoints (codes, Kubernetes's details);
mslearn-azure-ml issue 100 and mlops-v2 issue 120 (ResourceNotReady, form of the logs), public error logs (OutOfQuota by
memory). Where the documentation gives a code without its message, the message says what the documentation says of it.
"""

from __future__ import annotations

import re
from typing import Any

from localdev.azuresim.errors import error_object
from localdev.azuresim.ml.writes import guide
from localdev.azuresim.store import Resource

NO_LOG = "The container has not started yet and has written no log. Please try again later."
# What azureml-inference-server-http writes about a script (server/user_script.py, server/aml_blueprint.py).
_IMPORT, _INIT = "Failed to import user script", "User's init function failed"
_NO_FUNCTION = re.compile(r"does not have a (?:init|run)\(\) function defined")
_EXCEPTION = re.compile(r"^\w[\w.]*(?:Error|Exception)\b.*$", re.MULTILINE)


def crashed(deployment: Resource, phase: str, log: str) -> dict[str, Any]:
    """`phase`: crash_loop or out_of_memory."""
    is_pod = "compute" in deployment.state
    if phase == "out_of_memory":
        if is_pod:
            text = "The deployment pod was killed: it needs more memory than the limit of its container."
            return _error("PodOutOfMemory", text)
        return _error("OutOfQuota", "Container terminated due to insufficient memory.")
    if not is_pod:
        text = "User container has crashed or terminated: Liveness probe failed: HTTP probe failed with statuscode: 502."
        return _error("ResourceNotReady", text)
    if _IMPORT in log:
        return _error("UserScriptImportError", f"The scoring script failed to be imported. {_last(log)}")
    if _NO_FUNCTION.search(log):
        return _error("UserScriptFunctionNotFound", "The scoring script has no function init() or run().")
    if _INIT in log:
        return _error(
            "UserScriptInitFailed", f"The init() function of the scoring script failed. {_last(log)}"
        )
    text = f"The user container crashed when initializing. {_last(log)}".strip()
    return _error("DeploymentCrashLoopBackOff", text)


def not_answering(deployment: Resource) -> dict[str, Any]:
    text = "User container has crashed or terminated: Readiness probe failed: the container did not answer in time."
    return _error("ResourceNotReady", text)


def unschedulable(reason: str) -> dict[str, Any]:
    return _error("OutOfQuota", f"Kubernetes unschedulable. Details:{reason}")


def compute_not_found() -> dict[str, Any]:
    return _error("ComputeNotFound", "Cannot find Kubernetes compute.")


def no_model(reason: str) -> dict[str, Any]:
    return _error("BadArgument", f"Unable to download user model. {reason}")


def log_head(deployment: Resource) -> list[str]:
    """What the logs of a managed deployment begin with; those of a pod are its container's alone."""
    if "compute" in deployment.state:
        return []
    started = "Failed" if deployment.provisioning_state == "Failed" else "Succeeded"
    return [
        "Instance status:",
        "SystemSetup: Succeeded",
        "UserContainerImagePull: Succeeded",
        "ModelDownload: Succeeded",
        f"UserContainerStart: {started}",
        "",
        "Container logs:",
    ]


def initializer_log(deployment: Resource, kind: str) -> str:
    if kind != "StorageInitializer" or not deployment.state.get("placed"):
        return NO_LOG
    return f"Downloading the model {deployment.properties['model']}: done."


def _error(code: str, message: str) -> dict[str, Any]:
    return error_object(code, f"{message} {guide(code)}")


def _last(log: str) -> str:
    """The last exception a log tells of, but for those that the server wraps it in."""
    found = [each for each in _EXCEPTION.findall(log) if "UserScript" not in each]
    return str(found[-1]).strip() if found else ""
