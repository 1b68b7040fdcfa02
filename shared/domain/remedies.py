"""What to do about a deployment that failed: Azure ML's codes, who can help, and how.

Codes and advice: learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints, whose Kubernetes part
has those from ACRSecretError on.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Help(StrEnum):
    """Who or what helps."""

    FIX_INPUT = "fix input"  # the one who deploys: model, script, environment or declaration
    RETRY = "retry"  # the same once more, after a minute
    FALLBACK = "fallback"  # the same elsewhere, smaller, or later: there is no room
    PAGE = "page"  # an administrator of the cluster, the workspace or Azure


class Remedy(NamedTuple):
    help: Help
    advice: str


_ADVICE: dict[Help, dict[str, str]] = {
    Help.FIX_INPUT: {
        "ImageBuildFailure": "the environment does not build: read the build log, pin what it installs, or name an image",
        "BadArgument": "a setting of the deployment is refused: the message names it",
        "ResourceNotReady": "the container never became ready: read its log; score.py's init() fails or takes too long",
        "ResourceNotFound": "something it refers to is gone: model, environment, code or registry; the message names it",
        "DeploymentCrashLoopBackOff": "it crashes as it starts: read its log; imports, init(), or resources.memory",
        "KubernetesCrashLoopBackOff": "it crashes as it starts: read its log; imports, init(), or resources.memory",
        "UserScriptInitFailed": "init() of the scoring script raised: its log says what",
        "UserScriptImportError": "the scoring script imports what the environment has not: add it to the environment",
        "UserScriptFunctionNotFound": "the scoring script needs the functions init() and run()",
        "EndpointNotFound": "the endpoint is not on this cluster: check target.compute",
        "EndpointAlreadyExists": "an endpoint of this name is on the cluster already: choose another target.endpoint",
        "InvalidDeploymentSpec": "a number in resources is refused: the message names it",
        "PodOutOfMemory": "the container needs more than resources.memory: raise it",
    },
    Help.RETRY: {
        "OperationCanceled": "another change of the endpoint took its place: deploy again after a minute",
        "ACRSecretError": "the right to pull is not known everywhere yet: deploy again; then update the ML extension",
        "ACRTokenExchangeFailed": "the right to pull is not known yet, or the registry is busy: deploy again",
    },
    Help.FALLBACK: {
        "OutOfQuota": "raise the quota of the size's family, take a smaller instanceType, or fewer instances",
        "OutOfCapacity": "the region has none of this size now: take another instanceType, or try later",
        "PodUnschedulable": "no node has room: lower resources.cpu, memory or gpu, or add nodes to the cluster",
    },
    Help.PAGE: {
        "WorkspaceManagedNetworkNotReady": "provision the workspace's managed network first",
        "SecretsInjectionError": "the endpoint's identity may not read the secrets that the deployment names",
        "InternalServerError": "Azure ML failed by itself: deploy again; if it stays, open a support request",
        "TokenRefreshFailed": "the cluster's identity is not set up: reinstall the ML extension",
        "GetAADTokenFailed": "the cluster cannot get a token: check its proxy and its way to the workspace",
        "ACRAuthenticationChallengeFailed": "the cluster cannot reach the registry: check the network between them",
        "KubernetesUnaccessible": "the cluster does not answer: start it, check its certificate and its firewall",
        "ImagePullLoopBackOff": "the cluster cannot pull the image: check its way to the registry and its right to pull",
        "NamespaceNotFound": "the namespace of the attached cluster is gone: attach it again with one that is there",
        "ScoringFeUnhealthy": "azureml-fe on the cluster is down: update or reinstall the ML extension",
        "ValidateScoringFailed": "the scoring address does not answer: check the cluster's load balancer and firewall",
        "InferencingClientCallFailed": "the ML extension does not answer: detach the cluster and attach it again",
        "ComputeNotFound": "nothing is attached under target.compute: attach the cluster, or declare target.attach",
        "ComputeNotAccessible": "the attached cluster cannot be reached: start it, and check its identity",
        "InvalidComputeInformation": "what Azure ML knows of the cluster is stale: detach and attach it again",
    },
}  # fmt: skip

REMEDIES = {code: Remedy(help, told) for help, group in _ADVICE.items() for code, told in group.items()}

# One code, several causes: words of the message that tell them apart, under OutOfQuota in the same guide.
_BY_MESSAGE = (
    ("OutOfQuota", "insufficient memory", "PodOutOfMemory"),
    ("OutOfQuota", "unschedulable", "PodUnschedulable"),
)


def remedy_of(code: str, message: str = "") -> Remedy | None:
    """What helps against `code`; None if it is not known. Some codes need Azure's message to be told apart."""
    for each, word, better in _BY_MESSAGE:
        if code == each and word in message.lower():
            return REMEDIES[better]
    return REMEDIES.get(code)


def remedy(code: str, message: str = "") -> str:
    """The same as a line for a person, such as `fix input: init() of ...`; "" for a code that is not known."""
    found = remedy_of(code, message)
    return f"{found.help}: {found.advice}" if found else ""
