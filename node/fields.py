"""Checking JSON that was written elsewhere: every refusal is a JobSpecError that says where.

Every name in a job becomes part of a request or a path, so names are checked once, here, before anything is opened.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from node.errors import JobSpecError

ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,127}")
KEY = re.compile(r"[0-9a-f]{16,64}")
SHA256 = re.compile(r"[0-9a-f]{64}")
CONTAINER = re.compile(r"[a-z0-9](?:[a-z0-9]|-(?=[a-z0-9])){2,62}")
ETAG = re.compile(r'"?[\x21\x23-\x7e]{1,128}"?')
_BLOB_HOST = re.compile(
    r"[a-z0-9]{3,24}\.blob\.(?:core\.windows\.net|core\.chinacloudapi\.cn|core\.usgovcloudapi\.net)"
)


def is_safe_name(name: str) -> bool:
    """Whether a blob name stays where it says: no `..`, plain or percent-encoded, no backslash, no control character.

    HTTP clients resolve dot segments, so `in/../out` would quietly be a request for `out`.
    """
    for form in (name, unquote(name), unquote(unquote(name))):
        if not form or len(form) > 1024 or form.startswith("/") or "\\" in form:
            return False
        if any(ord(char) < 0x20 or ord(char) == 0x7F for char in form):
            return False
        if any(segment in (".", "..") for segment in form.split("/")):
            return False
    return True


_REQUIRED = object()


class Fields:
    """One JSON object and its path, so that every refusal says where."""

    def __init__(self, raw: object, path: str) -> None:
        if not isinstance(raw, dict):
            raise JobSpecError(f"{path}: an object is expected")
        self._raw, self._path = cast(dict[str, Any], raw), path

    def take[T](self, name: str, check: Callable[[object, str], T], default: object = _REQUIRED) -> T:
        """The field, checked; null counts as absent where there is a default."""
        value = self._raw.get(name)
        if value is None and default is not _REQUIRED:
            return cast(T, default)
        if name not in self._raw:
            raise JobSpecError(f"{self._path}.{name}: missing")
        return check(value, f"{self._path}.{name}")


def parse_json(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise JobSpecError(f"job: not JSON: {error}") from error


def anything(value: object, path: str) -> object:
    return value


def short_text(value: object, path: str) -> str:
    if not isinstance(value, str) or not value or len(value) > 2048:
        raise JobSpecError(f"{path}: a text of 1 to 2048 characters is expected")
    return value


def blob_name(value: object, path: str) -> str:
    text = short_text(value, path)
    if not is_safe_name(text):
        raise JobSpecError(f"{path}: not a name that stays in its place: {text!r}")
    return text


def storage_url(value: object, path: str) -> str:
    """Only https to a storage account: the machine's token must not go anywhere else."""
    parts = urlsplit(short_text(value, path))
    if parts.scheme != "https" or parts.path not in ("", "/") or not _BLOB_HOST.fullmatch(parts.netloc):
        raise JobSpecError(f"{path}: not the https address of a storage account's blob service: {value!r}")
    return f"https://{parts.netloc}"


def a_list(value: object, path: str) -> list[object]:
    if not isinstance(value, list):
        raise JobSpecError(f"{path}: a list is expected")
    return value


def full_list(value: object, path: str) -> list[object]:
    if not a_list(value, path):
        raise JobSpecError(f"{path}: a list that is not empty is expected")
    return a_list(value, path)


def matching(pattern: re.Pattern[str]) -> Callable[[object, str], str]:
    def check(value: object, path: str) -> str:
        text = short_text(value, path)
        if not pattern.fullmatch(text):
            raise JobSpecError(f"{path}: {text!r} does not match {pattern.pattern}")
        return text

    return check


def container_name(value: object, path: str) -> str:
    return matching(CONTAINER)(value, path)


def one_of(*allowed: str) -> Callable[[object, str], str]:
    def check(value: object, path: str) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise JobSpecError(f"{path}: {value!r} is not {' or '.join(map(repr, allowed))}")
        return value

    return check


def between(low: int, high: int) -> Callable[[object, str], int]:
    def check(value: object, path: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise JobSpecError(f"{path}: an integer from {low} to {high} is expected")
        return value

    return check
