"""Every code that Azure ML's troubleshooting guide has for deployments is answered with who can help, and how."""

from __future__ import annotations

import pytest

from shared.domain.remedies import REMEDIES, Help, remedy, remedy_of

# By hand from learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints: its list of common
# errors, and of those specific to Kubernetes.
GUIDE = {
    "ImageBuildFailure": "fix input",
    "OutOfQuota": "fallback",
    "BadArgument": "fix input",
    "ResourceNotReady": "fix input",
    "ResourceNotFound": "fix input",
    "WorkspaceManagedNetworkNotReady": "page",
    "OperationCanceled": "retry",
    "SecretsInjectionError": "page",
    "InternalServerError": "page",
    "ACRSecretError": "retry",
    "TokenRefreshFailed": "page",
    "GetAADTokenFailed": "page",
    "ACRAuthenticationChallengeFailed": "page",
    "ACRTokenExchangeFailed": "retry",
    "KubernetesUnaccessible": "page",
    "ImagePullLoopBackOff": "page",
    "DeploymentCrashLoopBackOff": "fix input",
    "KubernetesCrashLoopBackOff": "fix input",
    "UserScriptInitFailed": "fix input",
    "UserScriptImportError": "fix input",
    "UserScriptFunctionNotFound": "fix input",
    "NamespaceNotFound": "page",
    "EndpointNotFound": "fix input",
    "EndpointAlreadyExists": "fix input",
    "ScoringFeUnhealthy": "page",
    "ValidateScoringFailed": "page",
    "InvalidDeploymentSpec": "fix input",
    "PodUnschedulable": "fallback",
    "PodOutOfMemory": "fix input",
    "InferencingClientCallFailed": "page",
}


@pytest.mark.parametrize(("code", "who"), GUIDE.items())
def test_a_code_of_the_guide_says_who_can_help(code: str, who: str) -> None:
    found = remedy_of(code)
    assert found is not None and found.help == who
    assert remedy(code) == f"{who}: {found.advice}" and len(found.advice) > 20


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("Container terminated due to insufficient memory.", "resources.memory"),
        ("Kubernetes unschedulable. Details:0/1 nodes are available: 1 Too many pods.", "no node has room"),
        ("Not enough quota available for Standard_DS3_v2", "raise the quota"),
    ],
)
def test_one_code_with_several_causes_is_told_by_its_message(message: str, advice: str) -> None:
    assert advice in remedy("OutOfQuota", message)


def test_an_unknown_code_has_no_remedy_rather_than_a_wrong_one() -> None:
    assert remedy_of("SomethingNew") is None and remedy("SomethingNew") == ""


def test_what_asks_to_be_sent_again_is_only_what_passes_by_itself() -> None:
    again = {code for code, found in REMEDIES.items() if found.help is Help.RETRY}
    assert again == {"OperationCanceled", "ACRSecretError", "ACRTokenExchangeFailed"}
