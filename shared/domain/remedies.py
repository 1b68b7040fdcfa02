"""What to do about a deployment that failed: Azure ML's codes, and what a person can change.

Codes: learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints and
how-to-troubleshoot-kubernetes-extension.
"""

from __future__ import annotations

_REMEDIES = {
    "ImageBuildFailure": "the environment does not build: read the build log, pin what it installs, or name an image",
    "OutOfQuota": "raise the quota of the size's family, take a smaller instanceType, or fewer instances",
    "OutOfCapacity": "the region has none of this size now: take another instanceType, or try later",
    "BadArgument": "a setting of the deployment is refused: the message names it",
    "ResourceNotReady": "the container never became ready: read its log; score.py's init() fails or takes too long",
    "ResourceNotFound": "something it refers to is gone: model, environment, code or registry; the message names it",
    "OperationCanceled": "another change of the endpoint took its place: deploy again",
    "SecretsInjectionError": "the endpoint's identity may not read the secrets that the deployment names",
    "InternalServerError": "Azure ML failed by itself: deploy again; if it stays, ask its support",
    "ACRSecretError": "the cluster could not get its registry's secret: deploy again; then update the ML extension",
    "TokenRefreshFailed": "the cluster's identity is expired: reset the ML extension's credentials",
    "GetAADTokenFailed": "the cluster cannot get a token: check its identity and its way to login.microsoftonline.com",
    "KubernetesUnaccessible": "the cluster does not answer: start it, and check its API server's address and firewall",
    "ImagePullLoopBackOff": "the cluster cannot pull the image: check its way to the registry and its right to pull",
    "DeploymentCrashLoopBackOff": "the container crashes as it starts: read its log; score.py or its imports fail",
    "KubernetesCrashLoopBackOff": "the container crashes as it starts: read its log; memory or score.py's init()",
    "UserScriptInitFailed": "init() of the scoring script raised: its log says what",
    "UserScriptImportError": "the scoring script imports what the environment has not: add it to the environment",
    "UserScriptFunctionNotFound": "the scoring script needs the functions init() and run()",
    "EndpointAlreadyExists": "an endpoint of this name is on another cluster: choose another name",
    "ScoringFeUnhealthy": "the cluster's scoring front end is down: look at azureml-fe in the azureml namespace",
    "ValidateScoringFailed": "the scoring address does not answer: check the cluster's load balancer and firewall",
    "PodUnschedulable": "no node has room: lower resources.cpu, memory or gpu, or add nodes to the cluster",
    "PodOutOfMemory": "the container needs more than resources.memory: raise it",
    "InferencingClientCallFailed": "the ML extension on the cluster does not answer: update or reinstall it",
}


def remedy(code: str) -> str:
    """What a person can do about `code`; "" for one that is not known."""
    return _REMEDIES.get(code, "")
