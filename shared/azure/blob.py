"""Blob Storage: the few operations the app needs, each one request, with every refusal classified.

Two guards carry the whole design: *create-only* (the first writer wins) and *If-Match* (nobody's change is lost).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from shared.azure.classify import NO_ANSWER, classified, date_of
from shared.azure.credentials import credential
from shared.config import settings
from shared.domain.errors import ConflictError, NotFoundError, SpecError, TransientError

_CONTAINER = re.compile(r"(?!.*--)[a-z0-9](?:[a-z0-9-]{1,61}[a-z0-9])")
MAX_NAME = 1024
CONNECT_TIMEOUT_S = 10
_SCOPE = "https://storage.azure.com/.default"
READ_TIMEOUT_S = 40  # an activity may take 60 s


@dataclass(frozen=True)
class Found:
    """A blob as a list or a HEAD shows it. `etag` is quoted, as If-Match wants it."""

    name: str
    etag: str
    size: int
    last_modified: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Content:
    data: bytes
    etag: str


def create_only(container: str, name: str, data: bytes, *, metadata: Mapping[str, str] | None = None) -> bool:
    """Write the blob unless one of that name exists. True if this call made it, False if it was there already.

    If the answer is lost, what is stored decides: our bytes count as ours, since a create-only writer cannot tell
    its own lost success from an equal twin, and need not.
    """
    try:
        return _put(container, name, data, if_none_match=True, metadata=metadata)
    except TransientError as error:
        if error.code != NO_ANSWER:
            raise
        stored = read_or_none(container, name)
        if stored is None:
            raise
        return stored == data


def copy_only(container: str, name: str, *, source_container: str, source: str) -> bool:
    """Have Blob Storage copy a blob of up to 256 MiB to a name that must be free; its bytes never come here.

    True if this call made the copy, False if the name was taken. Raises NotFoundError if there is no source.
    """
    from azure.core import MatchConditions

    url = _blob(source_container, source).url
    token = credential().get_token(_SCOPE).token  # the source is read as who we are, not by a signed address
    try:
        with classified(f"copy {source_container}/{source} to {container}/{name}"):
            _blob(container, name).start_copy_from_url(
                url,
                requires_sync=True,
                source_authorization=f"Bearer {token}",
                match_condition=MatchConditions.IfMissing,
            )
    except ConflictError as error:
        if error.code in ("BlobAlreadyExists", "ConditionNotMet"):
            return False
        raise
    return True


def write_if_match(container: str, name: str, data: bytes, *, etag: str) -> bool:
    """Replace the blob if it still has `etag` ("" = if there is none). False if somebody changed it meanwhile."""
    if not etag:
        return create_only(container, name, data)
    return _put(container, name, data, etag=etag)


def read(container: str, name: str) -> bytes:
    """Raises NotFoundError if it is not there."""
    return read_with_etag_or_raise(container, name).data


def read_or_none(container: str, name: str) -> bytes | None:
    found = read_with_etag(container, name)
    return found.data if found else None


def read_json(container: str, name: str) -> Any:
    return json.loads(read(container, name))


def read_with_etag(container: str, name: str) -> Content | None:
    """The content and the etag it had when it was read; None if it is not there."""
    try:
        return read_with_etag_or_raise(container, name)
    except NotFoundError as error:
        if error.code == "ContainerNotFound":
            raise
        return None


def read_with_etag_or_raise(container: str, name: str) -> Content:
    with classified(f"read {container}/{name}"):
        stream = _blob(container, name).download_blob()
        return Content(stream.readall(), stream.properties.etag)


def read_range(container: str, name: str, offset: int, length: int, *, etag: str) -> bytes:
    """Some bytes of the version that has `etag`. Raises ConflictError if the blob is another one by now."""
    if length == 0:
        return b""
    with classified(f"read {container}/{name}"):
        stream = _blob(container, name).download_blob(offset=offset, length=length, **_if_match(etag))
        return bytes(stream.readall())


def list_blobs(container: str, prefix: str = "", *, metadata: bool = False) -> Iterator[Found]:
    """Blobs under `prefix` in name order, page by page. Raises NotFoundError if there is no such container."""
    _check_container(container)
    target = f"list {container}/{prefix}"
    with classified(target):
        listed = iter(
            _service()
            .get_container_client(container)
            .list_blobs(name_starts_with=prefix or None, include=["metadata"] if metadata else None)
        )
    while True:
        with classified(target):
            item = next(listed, None)
        if item is None:
            return
        yield _found(item)


def list_folders(container: str, prefix: str) -> list[str]:
    """What follows `prefix` up to the next slash, each once, in name order. One page names thousands of folders."""
    _check_container(container)
    with classified(f"list {container}/{prefix}"):
        listed = _service().get_container_client(container).walk_blobs(name_starts_with=prefix, delimiter="/")
        return [str(each.name)[len(prefix) :].rstrip("/") for each in listed if str(each.name).endswith("/")]


def head(container: str, name: str) -> Found:
    """Raises NotFoundError if it is not there."""
    with classified(f"look at {container}/{name}"):
        return _found(_blob(container, name).get_blob_properties())


def exists(container: str, name: str) -> bool:
    try:
        head(container, name)
    except NotFoundError:
        return False
    return True


def delete(container: str, name: str, *, etag: str = "") -> None:
    """Already gone is success. With an `etag`, raises ConflictError if the blob is another one by now."""
    try:
        with classified(f"delete {container}/{name}"):
            _blob(container, name).delete_blob(**_if_match(etag))
    except NotFoundError:
        return


def service_now(container: str) -> datetime:
    """Blob Storage's own time: the clock that stamps Last-Modified."""
    headers: dict[str, str] = {}
    _check_container(container)
    with classified(f"look at container {container}"):
        _service().get_container_client(container).get_container_properties(
            raw_response_hook=lambda response: headers.update(response.http_response.headers)
        )
    return date_of(headers)


def ensure_container(container: str) -> None:
    """Make the container unless it is there. Raises DeniedError where the identity may only fill those there are."""
    try:
        service_now(container)
    except NotFoundError:
        try:
            with classified(f"create container {container}"):
                _service().create_container(container)
        except ConflictError as error:
            if error.code != "ContainerAlreadyExists":
                raise


@cache
def _service() -> Any:
    """The client. Its own retries are off: they sleep inside the activity, and repeat writes that may have happened."""
    from azure.storage.blob import BlobServiceClient

    return BlobServiceClient(
        settings().storage_account_url,
        credential=credential(),
        retry_total=0,
        connection_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
    )


def _blob(container: str, name: str) -> Any:
    _check_container(container)
    _check_name(name)
    return _service().get_blob_client(container, name)


def _put(
    container: str,
    name: str,
    data: bytes,
    *,
    etag: str = "",
    if_none_match: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> bool:
    options = {"overwrite": not if_none_match, "metadata": dict(metadata or {}), **_if_match(etag)}
    try:
        with classified(f"write {container}/{name}"):
            _blob(container, name).upload_blob(data, **options)
    except ConflictError as error:
        if error.code in ("BlobAlreadyExists", "ConditionNotMet"):
            return False
        raise
    return True


def _if_match(etag: str) -> dict[str, Any]:
    if not etag:
        return {}
    from azure.core import MatchConditions

    return {"etag": etag, "match_condition": MatchConditions.IfNotModified}


def _found(item: Any) -> Found:
    etag = f'"{item.etag.strip('"')}"'  # a HEAD has it quoted, a list has not
    return Found(item.name, etag, item.size, item.last_modified, dict(item.metadata or {}))


def _check_container(container: str) -> None:
    if not _CONTAINER.fullmatch(container):
        raise SpecError(
            f"{container!r} is not a container name: 3 to 63 lower-case letters, digits and single hyphens"
        )


def _check_name(name: str) -> None:
    """Azure resolves `..` and `.` in the URL's path: such a name could reach another container."""
    parts = name.split("/")
    if (
        not name
        or len(name) > MAX_NAME
        or any(part in ("", ".", "..") for part in parts)
        or name.endswith(".")
        or "\\" in name
        or not name.isprintable()
    ):
        raise SpecError(
            f"{name!r} is not a blob name we use: at most {MAX_NAME} printable characters, no empty part, "
            "no '.' or '..' part, no backslash"
        )
