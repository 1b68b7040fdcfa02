"""Azure Machine Learning through azure-ai-ml's own control-plane client: one request a function, nothing waited for.

It is the client that MLClient sends everything with, here on our own pipeline (arm.policies). MLClient itself is not
used: its `begin_*` start a thread that polls Azure as long as the process lives, its `jobs.create_or_update` is up to
five requests, and making one changes the process's environment (azure-ai-ml 1.35.2). Importing any part of azure.ai.ml
is a second and 65 MB: only functions that are called do it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from shared.azure.arm import Answer, policies, transport
from shared.azure.classify import classified
from shared.azure.credentials import credential
from shared.config import settings
from shared.domain.errors import SpecError

ML_API = "2024-10-01"  # stable, and complete in Microsoft's specifications: computes, jobs, assets, usages

_ID = re.compile(
    r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)"
    r"/providers/Microsoft\.MachineLearningServices/workspaces/(?P<name>[^/]+)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Workspace:
    """The Azure ML workspace of MUSTER_ML_WORKSPACE. `id` is its ARM id."""

    id: str
    subscription: str
    group: str
    name: str


def workspace() -> Workspace:
    """The app's workspace. Raises SpecError where the setting is absent or is no workspace's id."""
    id_ = settings().ml_workspace_id
    if not id_:
        raise SpecError(
            "MUSTER_ML_WORKSPACE is not set: it is the ARM id of the Azure ML workspace to work in"
        )
    found = _ID.fullmatch(id_)
    if found is None:
        raise SpecError(f"MUSTER_ML_WORKSPACE={id_!r} is not the ARM id of an Azure ML workspace")
    return Workspace(id=id_, **found.groupdict())


@cache
def client() -> Any:
    """azure-ai-ml's control-plane client, with one API version for every request."""
    from azure.ai.ml._restclient.arm_ml_service import MachineLearningServicesMgmtClient

    return MachineLearningServicesMgmtClient(
        credential(),
        workspace().subscription,
        api_version=ML_API,
        policies=policies(),
        transport=transport(),
    )


def looked(operation: Callable[..., Any], target: str, *args: Any) -> Answer:
    """Look at `args` in the workspace once: the answer, also when it is 404."""
    from azure.core.exceptions import ResourceNotFoundError

    with classified(target):
        try:
            answer: Answer = operation(*_workspace(), *args, cls=_answer)
        except ResourceNotFoundError as missing:
            if missing.response is None:
                raise
            return Answer(404, missing.response.headers, {})
        return answer


def sent(operation: Callable[..., Any], target: str, *args: Any) -> Answer:
    """Send a request that is over when it is answered."""
    with classified(target):
        answer: Answer = operation(*_workspace(), *args, cls=_answer)
        return answer


def begun(operation: Callable[..., Any], target: str, *args: Any, **options: Any) -> Answer:
    """Begin a long operation and do not wait for it."""
    with classified(target):
        poller = operation(*_workspace(), *args, polling=False, cls=_answer, **options)
        answer: Answer = poller.result()
        return answer


def _workspace() -> tuple[str, str]:
    return workspace().group, workspace().name


def _answer(pipeline_response: Any, _value: Any, _headers: Any) -> Answer:
    response = pipeline_response.http_response
    return Answer(response.status_code, response.headers, response.json() if response.text() else {})
