"""The names in a declaration: each kind knows what is allowed and says so when it refuses."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

REFUSED = "refused"  # the error type of everything this module refuses


def refusal(message: str, *, allowed: str = "", hint: str = "", above: bool = False) -> PydanticCustomError:
    """An error for a validator to raise. `above` blames the mapping that holds the field instead of the field."""
    context = {"message": message, "allowed": allowed, "hint": hint, "above": above}
    return PydanticCustomError(REFUSED, "{message}", context)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did_you_mean("shedule", ["schedule"]) -> "Did you mean schedule?"`, or nothing if nothing is near."""
    by_lower = {name.lower().replace("_", ""): name for name in known}
    near = get_close_matches(word[:80].lower().replace("_", ""), by_lower, n=1)
    return f"Did you mean {by_lower[near[0]]}?" if near else ""


def check_known(name: str, what: str, info: ValidationInfo) -> str:
    """The name, if the context of this validation lists it among the known `what`s or lists none."""
    known: Collection[str] | None = (info.context or {}).get(what)
    if known is not None and name not in known:
        allowed = ", ".join(sorted(known)) or "none is installed"
        raise refusal(f"{name[:60]!r} is not a {what}", allowed=allowed, hint=did_you_mean(name, known))
    return name


def _pattern(pattern: str, allowed: str, *, max_length: int) -> tuple[AfterValidator, WithJsonSchema]:
    """A text that matches `pattern` whole."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if len(text) > max_length:
            raise refusal(f"has {len(text)} characters", allowed=f"at most {max_length}; {allowed}")
        if not compiled.fullmatch(text):
            raise refusal(f"{text!r} is not allowed", allowed=allowed)
        return text

    schema = {"type": "string", "pattern": f"^{pattern}$", "maxLength": max_length, "description": allowed}
    return AfterValidator(check), WithJsonSchema(schema)


def check_not_reserved(name: str, what: str, info: ValidationInfo) -> str:
    """The name, unless the context of this validation keeps it for the app itself, as its reserved `what`."""
    if name == (info.context or {}).get(f"reserved {what}"):
        raise refusal(
            f"{name!r} holds the app's own records",
            allowed=f"any other {what}",
            hint=f"Use a {what} of its own: whoever may write there could change what the app believes",
        )
    return name


_WORKLOAD_NAME = r"[a-z][a-z0-9-]{1,38}[a-z0-9]"
_WORKLOAD = _pattern(
    _WORKLOAD_NAME,
    "3 to 40 small letters, digits and hyphens; starts with a letter, does not end with a hyphen",
    max_length=40,
)
WorkloadName = Annotated[str, *_WORKLOAD]


def is_workload_name(text: str) -> bool:
    return re.fullmatch(_WORKLOAD_NAME, text) is not None


# learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
_CONTAINER = _pattern(
    r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*",
    "a container name: 3 to 63 small letters, digits and single hyphens; starts and ends with a letter or digit",
    max_length=63,
)
ContainerName = Annotated[str, *_CONTAINER]

_MODEL = _pattern(
    r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*",
    "letters, digits, `-`, `_` and single dots",
    max_length=60,
)
ModelName = Annotated[str, *_MODEL]
ModelVersion = Annotated[str, *_MODEL]

# learn.microsoft.com/azure/machine-learning/how-to-manage-quotas: endpoint and deployment names. Small letters only: it
# is a host's name too.
_ENDPOINT = _pattern(
    r"[a-z](?:[a-z0-9-]{1,30})[a-z0-9]",
    "3 to 32 small letters, digits and hyphens; starts with a letter, does not end with a hyphen",
    max_length=32,
)
EndpointName = Annotated[str, *_ENDPOINT]

_ATTACHED = _pattern(
    r"[A-Za-z][A-Za-z0-9-]{0,14}[A-Za-z0-9]",
    "2 to 16 letters, digits and hyphens; starts with a letter, does not end with a hyphen",
    max_length=16,
)
AttachedName = Annotated[str, *_ATTACHED]

_CLUSTER = _pattern(
    r"/subscriptions/[0-9a-fA-F-]{36}/resource[gG]roups/[A-Za-z0-9._()-]{1,90}/providers/"
    r"(Microsoft\.ContainerService/managedClusters|Microsoft\.Kubernetes/connectedClusters)/[A-Za-z0-9][A-Za-z0-9_-]{0,62}",
    "the ARM id of an AKS cluster (.../Microsoft.ContainerService/managedClusters/<name>) or of one connected by Arc",
    max_length=400,
)
ClusterId = Annotated[str, *_CLUSTER]

_NAMESPACE = _pattern(
    r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?",
    "a Kubernetes namespace: small letters, digits, hyphens",
    max_length=63,
)
Namespace = Annotated[str, *_NAMESPACE]

_INSTANCE_TYPE = _pattern(
    r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?",
    "an instance type of the cluster, such as defaultinstancetype, or a size, such as Standard_DS3_v2",
    max_length=63,
)
InstanceType = Annotated[str, *_INSTANCE_TYPE]

# kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity: the forms that people write
_CPU = _pattern(
    r"[1-9][0-9]{0,2}(?:\.[0-9]{1,3})?|0\.[0-9]{1,3}|[1-9][0-9]{0,5}m", "cores: 1, 0.5 or 500m", max_length=8
)
CpuQuantity = Annotated[str, *_CPU]
_MEMORY = _pattern(r"[1-9][0-9]{0,5}(?:\.[0-9])?(?:Mi|Gi)", "memory: 512Mi or 2Gi", max_length=10)
MemoryQuantity = Annotated[str, *_MEMORY]

_IMAGE = _pattern(
    r"[a-z0-9][a-z0-9.-]*(?::[0-9]{1,5})?(?:/[a-z0-9][a-z0-9._-]*)+(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?@sha256:[0-9a-f]{64}",
    "an image by its digest: registry.example/serving@sha256:<64 hexadecimal digits>",
    max_length=400,
)
PinnedImage = Annotated[str, *_IMAGE]

_FILE = _pattern(
    r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*\.jsonl",
    "a .jsonl file of the app, such as workloads/flights_golden.jsonl: relative, no `..`",
    max_length=200,
)
GoldenFile = Annotated[str, *_FILE]

_REGION = _pattern(r"[a-z][a-z0-9]+", "a region as Azure spells it, such as westeurope", max_length=40)
RegionName = Annotated[str, *_REGION]

_SIZE = _pattern(
    r"(Standard|Basic)_[A-Za-z0-9]+([_-][A-Za-z0-9]+)*", "a size, such as Standard_D4s_v5", max_length=60
)
SizeName = Annotated[str, *_SIZE]

_SCRIPT = _pattern(r"[A-Za-z_][A-Za-z0-9_]*\.py", "the name of a Python file in `code`", max_length=80)
ScriptName = Annotated[str, *_SCRIPT]

_FOLDER = _pattern(
    r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*",
    "a folder of the app, such as workloads/churn/scoring: relative, no `..`, letters, digits, `.`, `_` and `-`",
    max_length=200,
)
AppFolder = Annotated[str, *_FOLDER]


_NAME_TRICKS = (
    (re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufeff]"), "has a control character"),
    (re.compile(r"\\"), "has a backslash, which storage turns into a slash"),
    (re.compile(r"%"), "has a percent sign, which could hide another character"),
    (re.compile(r"^/"), "starts with a slash; names in a container are relative"),
    (re.compile(r"//"), "has an empty segment"),
    (re.compile(r"(^|/)\.{1,2}(/|$)"), "has a segment `.` or `..`, which clients resolve away"),
    (re.compile(r"\.(/|$)"), "has a segment that ends with a dot, which storage may drop"),
)
MAX_PREFIX = 500  # of the 1,024 characters a blob's name may have


def _check_blob_name(text: str) -> str:
    for trick, message in _NAME_TRICKS:
        if trick.search(text):
            raise refusal(
                f"{text[:80]!r} {message}", allowed="segments of plain text separated by single slashes"
            )
    if len(text) > MAX_PREFIX:
        raise refusal(f"has {len(text)} characters", allowed=f"at most {MAX_PREFIX}")
    return text


def _check_prefix(text: str) -> str:
    if not text:
        raise refusal(
            "is empty: every blob of the container would be scored, whoever put it there",
            allowed="the folder of the inputs, such as flights/",
        )
    return _check_blob_name(text)


BlobPrefix = Annotated[str, AfterValidator(_check_prefix), Field(json_schema_extra={"minLength": 1})]


def _check_pattern(text: str) -> str:
    if not text or len(text) > 200:
        raise refusal(f"has {len(text)} characters", allowed="1 to 200 characters, such as *.parquet")
    return _check_blob_name(text)


BlobPattern = Annotated[str, AfterValidator(_check_pattern)]

_OUTPUT_TEXT = re.compile(r"[A-Za-z0-9._=/-]*")
_PLACEHOLDER = re.compile(r"\{(slot|run)\}")


def _check_output_path(text: str) -> str:
    allowed = "letters, digits, `.`, `_`, `=`, `-`, `/`, {slot} and {run}; ends with a slash: flights/{slot}/"
    _check_blob_name(text)
    if not _PLACEHOLDER.search(text):
        raise refusal(f"{text!r} is the same for every run", allowed=allowed, hint="Add {slot} or {run}")
    if not text.endswith("/"):
        raise refusal(f"{text!r} does not end with a slash", allowed=allowed, hint=f"Write {text}/")
    if not _OUTPUT_TEXT.fullmatch(_PLACEHOLDER.sub("", text)):
        raise refusal(f"{text!r} is not allowed", allowed=allowed)
    return text


OutputPath = Annotated[str, AfterValidator(_check_output_path)]
