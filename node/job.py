"""The score job: what to score, with what, and where the results go. Written by the app, believed only after checks.

Every name in it becomes part of a request or a path, so names are checked here, once, before anything is opened.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from node.errors import JobSpecError

SCHEMA = "muster.score-job/1"
JOB_MAX_BYTES = 64 * 1024 * 1024
_REFERENCE_MAX_CHARS = 16 * 1024
_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,127}")
_KEY = re.compile(r"[0-9a-f]{16,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTAINER = re.compile(r"[a-z0-9](?:[a-z0-9]|-(?=[a-z0-9])){2,62}")
_BLOB_HOST = re.compile(
    r"[a-z0-9]{3,24}\.blob\.(?:core\.windows\.net|core\.chinacloudapi\.cn|core\.usgovcloudapi\.net)"
)
_ETAG = re.compile(r'"?[\x21\x23-\x7e]{1,128}"?')


@dataclass(frozen=True)
class JobReference:
    """Where the job is, and the hash of its bytes."""

    account_url: str
    container: str
    blob: str
    sha256: str
    client_id: str | None


@dataclass(frozen=True)
class ModelSource:
    container: str
    prefix: str
    name: str
    version: str
    flavor: str
    sha256: str


@dataclass(frozen=True)
class CodeSource:
    container: str
    blob: str
    sha256: str
    entry: str
    mini_batch_size: int


@dataclass(frozen=True)
class Item:
    """One input as it was when the inputs were frozen."""

    container: str
    blob: str
    etag: str
    size: int


@dataclass(frozen=True)
class Shard:
    id: str
    key: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class ScoreJob:
    run: str
    job: str
    account_url: str
    state_container: str
    state_prefix: str
    model: ModelSource | None
    code: CodeSource | None
    output_container: str
    output_path: str
    attempts: int
    workers: int
    shards: tuple[Shard, ...]

    def state_blob(self, kind: str, name: str) -> str:
        """`state_blob("shards", "00001") -> "runs/<run>/shards/00001.json"`."""
        return f"{self.state_prefix.rstrip('/')}/{kind}/{name}.json"

    def part_blob(self, shard: Shard) -> str:
        return f"{self.output_path.rstrip('/')}/part-{shard.id}-{shard.key}.parquet"


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


def decode_reference(text: str) -> JobReference:
    """Raises JobSpecError unless `text` is base64 of a JSON object with exactly what a reference needs."""
    if len(text) > _REFERENCE_MAX_CHARS:
        raise JobSpecError(f"reference: longer than {_REFERENCE_MAX_CHARS} characters")
    try:
        raw = json.loads(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise JobSpecError(f"reference: not base64 of JSON: {error}") from error
    fields = _Fields(raw, "reference")
    return JobReference(
        account_url=fields.take("account_url", _account_url),
        container=fields.take("container", _container),
        blob=fields.take("blob", _blob),
        sha256=fields.take("sha256", _matching(_SHA256)),
        client_id=fields.take("client_id", _text, default=None),
    )


def parse_address(data: bytes) -> tuple[str, str, str]:
    """(job, state container, state prefix): enough to report on a job that is otherwise unusable."""
    fields = _Fields(_json(data), "job")
    state = _Fields(fields.take("state", _anything), "job.state")
    prefix = state.take("prefix", _blob)
    return fields.take("job", _matching(_ID)), state.take("container", _container), prefix


def parse_job(data: bytes, account_url: str) -> ScoreJob:
    """The job in `data`. Raises JobSpecError with the path of the first thing that is wrong.

    `account_url` is where the job came from; the machine's token is sent to that account and no other.
    """
    fields = _Fields(_json(data), "job")
    fields.take("schema", _one_of(SCHEMA))
    fields.take("account_url", _one_of(account_url.rstrip("/"), account_url.rstrip("/") + "/"))
    job, state_container, state_prefix = parse_address(data)
    output = _Fields(fields.take("output", _anything), "job.output")
    model, code = fields.take("model", _model, default=None), fields.take("code", _code, default=None)
    if model is None and code is None:
        raise JobSpecError("job.model: neither a model nor code to score with")
    shards = tuple(_shard(raw, f"job.shards[{n}]") for n, raw in enumerate(fields.take("shards", _list)))
    if len({shard.id for shard in shards}) != len(shards):
        raise JobSpecError("job.shards: two shards have the same id")
    return ScoreJob(
        run=fields.take("run", _matching(_ID)),
        job=job,
        account_url=account_url,
        state_container=state_container,
        state_prefix=state_prefix,
        model=model,
        code=code,
        output_container=output.take("container", _container),
        output_path=output.take("path", _blob),
        attempts=fields.take("attempts", _between(1, 20)),
        workers=fields.take("workers", _between(1, 256)),
        shards=shards,
    )


def _shard(raw: object, path: str) -> Shard:
    fields = _Fields(raw, path)
    items = fields.take("items", _list_of_at_least_one)
    return Shard(
        id=fields.take("id", _matching(_ID)),
        key=fields.take("key", _matching(_KEY)),
        items=tuple(_item(item, f"{path}.items[{n}]") for n, item in enumerate(items)),
    )


def _item(raw: object, path: str) -> Item:
    """An input's name is anybody's who may upload: it is not checked here, an unsafe one is quarantined instead."""
    fields = _Fields(raw, path)
    return Item(
        container=fields.take("container", _container),
        blob=fields.take("blob", _text),
        etag=fields.take("etag", _matching(_ETAG)),
        size=fields.take("size", _between(0, 2**63)),
    )


def _model(raw: object, path: str) -> ModelSource:
    fields = _Fields(raw, path)
    return ModelSource(
        container=fields.take("container", _container),
        prefix=fields.take("prefix", _blob),
        name=fields.take("name", _text),
        version=fields.take("version", _text),
        flavor=fields.take("flavor", _text),
        sha256=fields.take("sha256", _matching(_SHA256)),
    )


def _code(raw: object, path: str) -> CodeSource:
    fields = _Fields(raw, path)
    return CodeSource(
        container=fields.take("container", _container),
        blob=fields.take("blob", _blob),
        sha256=fields.take("sha256", _matching(_SHA256)),
        entry=fields.take("entry", _blob),
        mini_batch_size=fields.take("mini_batch_size", _between(1, 10_000), default=10),
    )


_REQUIRED = object()


class _Fields:
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


def _json(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise JobSpecError(f"job: not JSON: {error}") from error


def _anything(value: object, path: str) -> object:
    return value


def _text(value: object, path: str) -> str:
    if not isinstance(value, str) or not value or len(value) > 2048:
        raise JobSpecError(f"{path}: a text of 1 to 2048 characters is expected")
    return value


def _blob(value: object, path: str) -> str:
    text = _text(value, path)
    if not is_safe_name(text):
        raise JobSpecError(f"{path}: not a name that stays in its place: {text!r}")
    return text


def _account_url(value: object, path: str) -> str:
    """Only https to a storage account: the machine's token must not go anywhere else."""
    parts = urlsplit(_text(value, path))
    if parts.scheme != "https" or parts.path not in ("", "/") or not _BLOB_HOST.fullmatch(parts.netloc):
        raise JobSpecError(f"{path}: not the https address of a storage account's blob service: {value!r}")
    return f"https://{parts.netloc}"


def _list(value: object, path: str) -> list[object]:
    if not isinstance(value, list):
        raise JobSpecError(f"{path}: a list is expected")
    return value


def _list_of_at_least_one(value: object, path: str) -> list[object]:
    if not _list(value, path):
        raise JobSpecError(f"{path}: a list that is not empty is expected")
    return _list(value, path)


def _matching(pattern: re.Pattern[str]) -> Callable[[object, str], str]:
    def check(value: object, path: str) -> str:
        text = _text(value, path)
        if not pattern.fullmatch(text):
            raise JobSpecError(f"{path}: {text!r} does not match {pattern.pattern}")
        return text

    return check


def _container(value: object, path: str) -> str:
    return _matching(_CONTAINER)(value, path)


def _one_of(*allowed: str) -> Callable[[object, str], str]:
    def check(value: object, path: str) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise JobSpecError(f"{path}: {value!r} is not {' or '.join(map(repr, allowed))}")
        return value

    return check


def _between(low: int, high: int) -> Callable[[object, str], int]:
    def check(value: object, path: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise JobSpecError(f"{path}: an integer from {low} to {high} is expected")
        return value

    return check
