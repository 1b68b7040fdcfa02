"""Errors cross as values and come back; what they say carries no credential."""

from __future__ import annotations

import base64
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import errors
from shared.domain.errors import (
    AppError,
    Cancelled,
    CapacityError,
    ConflictError,
    DeniedError,
    Failure,
    Fault,
    JobFailed,
    LeaseLost,
    NotFoundError,
    PlatformError,
    RolloutAborted,
    SpecError,
    SpecErrors,
    TransientError,
    from_failure,
    redact,
    to_failure,
)

FAULT = Fault(path="schedule.cron", line=3, column=9, message="not a cron expression", allowed="5 fields")

EVERY_KIND = [
    AppError("plain"),
    SpecError("wrong"),
    SpecErrors(source="workloads/churn.yaml", faults=[FAULT, Fault(path="", message="no kind")]),
    PlatformError("PUT vm-1: 400", code="BadRequest", correlation_id="c-1", target="vm-1"),
    TransientError("GET vm-1: 429", code="TooManyRequests", target="vm-1", retry_after_s=12.5),
    CapacityError("PUT vm-1: 409", code="SkuNotAvailable", target="vm-1"),
    ConflictError("DELETE vm-1: tags of another lease", code="NotOurs", target="vm-1"),
    NotFoundError("GET vm-1: 404", code="ResourceNotFound", target="vm-1"),
    DeniedError("PUT vm-1: 403", code="AuthorizationFailed", role="Contributor", scope="/subscriptions/1"),
    JobFailed(
        "score.py raised ValueError", exit_status=3, log_uri="https://acct.blob.core.windows.net/muster/log"
    ),
    LeaseLost("vm-1 vanished", lease="0123456789abcdef"),
    Cancelled("cancelled by the operator"),
    RolloutAborted("error rate 3 % at 10 % traffic"),
]


def test_the_table_above_holds_every_type_of_the_tree() -> None:
    defined = {
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AppError)
    }
    assert {type(error) for error in EVERY_KIND} == defined


@pytest.mark.parametrize("error", EVERY_KIND, ids=lambda error: type(error).__name__)
def test_an_error_comes_back_as_it_went(error: AppError) -> None:
    wire = json.loads(to_failure(error).model_dump_json())
    back = from_failure(Failure.model_validate(wire))
    assert type(back) is type(error)
    assert (back.message, str(back), back.facts()) == (error.message, str(error), error.facts())
    assert to_failure(back) == to_failure(error)


def test_an_unknown_type_becomes_an_app_error_that_names_it() -> None:
    back = from_failure(Failure(type="QuantumError", message="cat both ways", facts={"cat": "?"}))
    assert type(back) is AppError
    assert back.message == "QuantumError: cat both ways"


def test_facts_from_a_newer_version_are_left_aside() -> None:
    failure = Failure(type="JobFailed", message="m", facts={"exit_status": 2, "new_in_v9": True})
    assert from_failure(failure).facts() == {"exit_status": 2, "log_uri": None}


def test_an_exception_that_is_not_ours_crosses_without_its_attributes() -> None:
    assert to_failure(KeyError("x")) == Failure(type="KeyError", message="'x'")


def test_all_faults_are_told_with_their_place() -> None:
    error = SpecErrors(source="w.yaml", faults=[FAULT, Fault(path="name", message="missing", hint="Add it")])
    assert str(error).splitlines() == [
        "w.yaml:3:9: schedule.cron: not a cron expression; allowed: 5 fields",
        "w.yaml: name: missing. Add it",
    ]


STORAGE_KEY = base64.b64encode(bytes(range(64))).decode()
FUNCTION_KEY = "kR9pQ2vX8mWz_4tL1nYc7bHd0sJf3gUe6aTiOqPrVwNyAzFuZx-y1A=="
SIGNATURE = "aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3xY5zA7bC9d%3D"
JWT = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJhdWQiOiJodHRwczovL21hbmFnZW1lbnQifQ.c2lnbmF0dXJlc2lnbmF0dXJl"
CLIENT_SECRET = "abc8Q~" + "Kz" * 17
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\nq83vZm9v\n-----END RSA PRIVATE KEY-----"

PLANTED = [
    (
        f"PUT https://a.blob.core.windows.net/c/b?sv=2024-11-04&se=2026-03-01&sr=b&sp=r&sig={SIGNATURE}",
        SIGNATURE,
    ),
    (f"sig={SIGNATURE}&sv=2024", SIGNATURE),
    ("redirect=https%3A%2F%2Fa%2Fb%3Fsv%3D1%26sig%3DaB3dE5fG7hI9jK%26sp%3Dr", "aB3dE5fG7hI9jK"),
    (f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={STORAGE_KEY};EndpointSuffix=x", STORAGE_KEY),
    (f"key was {STORAGE_KEY} in the log", STORAGE_KEY),
    (f"GET https://app.azurewebsites.net/api/runs?code={FUNCTION_KEY}&x=1", FUNCTION_KEY),
    ("GET https://app.azurewebsites.net/api/runs?x=1&code=short-key-9", "short-key-9"),
    (f"x-functions-key: {FUNCTION_KEY}", FUNCTION_KEY),
    ("{'x-functions-key': 'tiny-1'}", "tiny-1"),
    ("x-identity-header: 853b9a84", "853b9a84"),
    ("aeg-sas-key: VXbGWce53249Mt8wuotr0GPmyJ", "VXbGWce53249Mt8wuotr0GPmyJ"),
    ("Endpoint=sb://n;SharedAccessKeyName=Root;SharedAccessKey=c2VjcmV0LWtleQ", "c2VjcmV0LWtleQ"),
    (f"Authorization: Bearer {JWT}", JWT),
    ("authorization: bearer opaque-token-0123456789", "opaque-token-0123456789"),
    (f"token {JWT} expired", JWT),
    ("Authorization: SharedKey acct:Zm9vYmFyYmF6cXV4Zm9v", "Zm9vYmFyYmF6cXV4Zm9v"),
    ('{"access_token": "abc.def", "expires_in": 3600}', "abc.def"),
    ('{\\"client_secret\\": \\"hunter2!\\"}', "hunter2!"),
    ("client_id=1&client_secret=hunter2!&grant_type=x", "hunter2!"),
    (f"AADSTS7000215: {CLIENT_SECRET} is wrong", CLIENT_SECRET),
    ("password: correct-horse", "correct-horse"),
    ('{"primaryKey":"Qm9vIQ"}', "Qm9vIQ"),
    ("git clone https://bob:ghp_012345@github.com/x/y", "ghp_012345"),
    (f"could not read {PEM} here", "MIIEpAIBAAKCAQEA"),
]


@pytest.mark.parametrize(("text", "secret"), PLANTED, ids=[str(n) for n in range(len(PLANTED))])
def test_a_planted_secret_leaves_no_trace(text: str, secret: str) -> None:
    clean = redact(text)
    assert "[redacted]" in clean
    assert secret not in clean
    assert not any(part in clean for part in re.findall(r"[A-Za-z0-9]{12,}", secret))
    assert redact(clean) == clean


def test_a_failure_is_redacted_in_message_and_facts() -> None:
    url = f"https://a.blob.core.windows.net/c/b?sp=r&sig={SIGNATURE}"
    failure = to_failure(JobFailed(f"GET {url}: 403", log_uri=url))
    assert SIGNATURE not in failure.model_dump_json()
    assert failure.facts["log_uri"] == "https://a.blob.core.windows.net/c/b?sp=r&sig=[redacted]"


@pytest.mark.parametrize(
    "text",
    [
        "score-flights-nightly-20130201T020000Z",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/muster-burn",
        "SkuNotAvailable: Standard_D2s_v5 is not available in westeurope, code=SkuNotAvailable",
        "etag 0x8DD1234567890AB, key 0123456789abcdef",
        "ssh key not password; Basic authentication is off",
        "design=sig and config=1",
    ],
)
def test_what_a_reader_needs_is_kept(text: str) -> None:
    assert redact(text) == text


@given(st.text(max_size=300))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    assert redact(redact(text)) == redact(text)


def test_a_megabyte_of_hostile_text_is_redacted_in_linear_work() -> None:
    for unit in (
        "eyJ",
        "sig=",
        "a",
        "=",
        "-----BEGIN PRIVATE KEY-----",
        'password: "',
        "https://a:",
        "A-key",
    ):
        redact(unit * (200_000 // len(unit)))
