"""The score job: what to score, with what, and where the results go. Written by the app, believed only after checks."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass

from node.errors import JobSpecError
from node.fields import (
    ETAG,
    ID,
    KEY,
    SHA256,
    Fields,
    a_list,
    anything,
    between,
    blob_name,
    container_name,
    full_list,
    matching,
    one_of,
    parse_json,
    short_text,
    storage_url,
)

SCHEMA = "muster.score-job/1"
UNKNOWN_UNITS = ("leaveEmpty", "quarantine")  # what becomes of rows whose unit has no model
JOB_MAX_BYTES = 64 * 1024 * 1024
_REFERENCE_MAX_CHARS = 16 * 1024


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
    unknown_units: str = "leaveEmpty"


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


def decode_reference(text: str) -> JobReference:
    """Raises JobSpecError unless `text` is base64 of a JSON object with exactly what a reference needs."""
    if len(text) > _REFERENCE_MAX_CHARS:
        raise JobSpecError(f"reference: longer than {_REFERENCE_MAX_CHARS} characters")
    try:
        raw = json.loads(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError) as error:
        raise JobSpecError(f"reference: not base64 of JSON: {error}") from error
    fields = Fields(raw, "reference")
    return JobReference(
        account_url=fields.take("account_url", storage_url),
        container=fields.take("container", container_name),
        blob=fields.take("blob", blob_name),
        sha256=fields.take("sha256", matching(SHA256)),
        client_id=fields.take("client_id", short_text, default=None),
    )


def parse_address(data: bytes) -> tuple[str, str, str]:
    """(job, state container, state prefix): enough to report on a job that is otherwise unusable."""
    fields = Fields(parse_json(data), "job")
    state = Fields(fields.take("state", anything), "job.state")
    prefix = state.take("prefix", blob_name)
    return fields.take("job", matching(ID)), state.take("container", container_name), prefix


@dataclass(frozen=True)
class Head:
    """What every job but the score job begins with."""

    run: str
    job: str
    state_container: str
    state_prefix: str

    def path(self, *steps: str) -> str:
        """`path("trials", "t003", "log.txt") -> "runs/<run>/trials/t003/log.txt"`."""
        return "/".join((self.state_prefix.rstrip("/"), *steps))

    def state_blob(self, kind: str, name: str) -> str:
        return self.path(kind, f"{name}.json")


def parse_head(data: bytes, schema: str, account_url: str) -> tuple[Head, Fields]:
    """A job's head and the rest of it. `account_url` is where it came from: the only account that gets our token."""
    fields = Fields(parse_json(data), "job")
    fields.take("schema", one_of(schema))
    fields.take("account_url", one_of(account_url.rstrip("/"), account_url.rstrip("/") + "/"))
    job, container, prefix = parse_address(data)
    return Head(fields.take("run", matching(ID)), job, container, prefix), fields


def schema_of(data: bytes) -> str:
    """What kind of job this is. Raises JobSpecError if it does not say."""
    return Fields(parse_json(data), "job").take("schema", short_text)


def parse_job(data: bytes, account_url: str) -> ScoreJob:
    """The job in `data`. Raises JobSpecError with the path of the first thing that is wrong.

    `account_url` is where the job came from; the machine's token is sent to that account and no other.
    """
    fields = Fields(parse_json(data), "job")
    fields.take("schema", one_of(SCHEMA))
    fields.take("account_url", one_of(account_url.rstrip("/"), account_url.rstrip("/") + "/"))
    job, state_container, state_prefix = parse_address(data)
    output = Fields(fields.take("output", anything), "job.output")
    model, code = fields.take("model", model_source, default=None), fields.take("code", _code, default=None)
    if model is None and code is None:
        raise JobSpecError("job.model: neither a model nor code to score with")
    shards = tuple(_shard(raw, f"job.shards[{n}]") for n, raw in enumerate(fields.take("shards", a_list)))
    if len({shard.id for shard in shards}) != len(shards):
        raise JobSpecError("job.shards: two shards have the same id")
    return ScoreJob(
        run=fields.take("run", matching(ID)),
        job=job,
        account_url=account_url,
        state_container=state_container,
        state_prefix=state_prefix,
        model=model,
        code=code,
        output_container=output.take("container", container_name),
        output_path=output.take("path", blob_name),
        attempts=fields.take("attempts", between(1, 20)),
        workers=fields.take("workers", between(1, 256)),
        shards=shards,
    )


def _shard(raw: object, path: str) -> Shard:
    fields = Fields(raw, path)
    items = fields.take("items", full_list)
    return Shard(
        id=fields.take("id", matching(ID)),
        key=fields.take("key", matching(KEY)),
        items=tuple(frozen_item(item, f"{path}.items[{n}]") for n, item in enumerate(items)),
    )


def frozen_item(raw: object, path: str) -> Item:
    """An input's name is anybody's who may upload: it is not checked here, an unsafe one is quarantined instead."""
    fields = Fields(raw, path)
    return Item(
        container=fields.take("container", container_name),
        blob=fields.take("blob", short_text),
        etag=fields.take("etag", matching(ETAG)),
        size=fields.take("size", between(0, 2**63)),
    )


def model_source(raw: object, path: str) -> ModelSource:
    fields = Fields(raw, path)
    return ModelSource(
        container=fields.take("container", container_name),
        prefix=fields.take("prefix", blob_name),
        name=fields.take("name", short_text),
        version=fields.take("version", short_text),
        flavor=fields.take("flavor", short_text),
        sha256=fields.take("sha256", matching(SHA256)),
        unknown_units=fields.take("unknown_units", one_of(*UNKNOWN_UNITS), default=UNKNOWN_UNITS[0]),
    )


def _code(raw: object, path: str) -> CodeSource:
    fields = Fields(raw, path)
    return CodeSource(
        container=fields.take("container", container_name),
        blob=fields.take("blob", blob_name),
        sha256=fields.take("sha256", matching(SHA256)),
        entry=fields.take("entry", blob_name),
        mini_batch_size=fields.take("mini_batch_size", between(1, 10_000), default=10),
    )
