"""Blob Storage in memory, at the HTTP boundary: the requests that the app and the agent make, and no others.

It stands in for Azurite, which costs ten times the time and lives on the wall clock. tests/crash/test_storage.py holds
both to the same answers, and the e2e tests run the same app and agent against Azurite.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

_NOT_MET = "The condition specified using HTTP conditional header(s) is not met."
_XML = {"Content-Type": "application/xml"}


@dataclass
class StoredBlob:
    data: bytes
    etag: str
    modified: float
    content_type: str
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answered:
    status: int
    headers: dict[str, str]
    body: bytes = b""


class BlobStorage:
    """One account. `now` gives the service's time in epoch seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._versions = itertools.count(1)
        self.containers: dict[str, dict[str, StoredBlob]] = {}

    def put(self, container: str, name: str, data: bytes, metadata: Mapping[str, str] | None = None) -> None:
        """What a test lands without a request."""
        self.containers[container][name] = StoredBlob(
            data, self._etag(), self._now(), "application/octet-stream", dict(metadata or {})
        )

    def read(self, container: str, name: str) -> bytes | None:
        found = self.containers[container].get(name)
        return found.data if found else None

    def document(self, container: str, name: str) -> dict[str, Any]:
        """A blob that is a JSON object; empty where there is none."""
        found: dict[str, Any] = json.loads(self.read(container, name) or b"{}")
        return found

    def names(self, container: str, prefix: str = "") -> list[str]:
        return sorted(name for name in self.containers[container] if name.startswith(prefix))

    def answer(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Answered:
        """Answer one request. `headers` compare without case."""
        options = {key: values[0] for key, values in parse_qs(query, keep_blank_values=True).items()}
        container, _, name = unquote(path).lstrip("/").partition("/")
        blobs = self.containers.get(container)
        if method == "PUT" and not name:
            return self._create(container)
        if blobs is None:
            return self._refused(method, 404, "ContainerNotFound", "The specified container does not exist.")
        if not name:
            return self._container(method, container, blobs, options)
        assert "comp" not in options, f"{method} {path}?{query} is not simulated"
        match method:
            case "PUT":
                return self._write(blobs, name, headers, body)
            case "GET" | "HEAD":
                return self._read(method, blobs, name, headers)
            case "DELETE":
                return self._delete(blobs, name, headers)
        raise AssertionError(f"{method} {path} is not simulated")

    def _create(self, container: str) -> Answered:
        if container in self.containers:
            return self._refused(
                "PUT", 409, "ContainerAlreadyExists", "The specified container already exists."
            )
        self.containers[container] = {}
        return Answered(
            201, self._common() | {"ETag": self._etag(), "Last-Modified": _http_date(self._now())}
        )

    def _container(
        self, method: str, container: str, blobs: dict[str, StoredBlob], options: Mapping[str, str]
    ) -> Answered:
        assert options.get("restype") == "container", options
        if options.get("comp") == "list":
            return Answered(200, self._common() | _XML, self._listing(container, blobs, options))
        assert method in ("GET", "HEAD") and "comp" not in options, options
        shown = {"ETag": '"0x1"', "Last-Modified": _http_date(0), "x-ms-lease-status": "unlocked"}
        return Answered(200, self._common() | shown)

    def _write(
        self, blobs: dict[str, StoredBlob], name: str, headers: Mapping[str, str], body: bytes
    ) -> Answered:
        found = blobs.get(name)
        if source := headers.get("x-ms-copy-source"):
            place, _, original = unquote(urlsplit(source).path).lstrip("/").partition("/")
            if original not in self.containers[place]:
                return self._refused("PUT", 404, "BlobNotFound", "The specified blob does not exist.")
            body = self.containers[place][original].data
        if headers.get("If-None-Match") == "*" and found:
            return self._refused("PUT", 409, "BlobAlreadyExists", "The specified blob already exists.")
        wanted = headers.get("If-Match")
        if wanted and (found is None or wanted not in ("*", found.etag)):
            return self._refused("PUT", 412, "ConditionNotMet", _NOT_MET)
        metadata = {
            key[len("x-ms-meta-") :]: value
            for key, value in headers.items()
            if key.lower().startswith("x-ms-meta-")
        }
        kind = headers.get("x-ms-blob-content-type") or "application/octet-stream"
        stored = blobs[name] = StoredBlob(body, self._etag(), self._now(), kind, metadata)
        shown = {"ETag": stored.etag, "Last-Modified": _http_date(stored.modified)}
        if source:
            return Answered(
                202, self._common() | shown | {"x-ms-copy-status": "success", "x-ms-copy-id": "copy"}
            )
        return Answered(201, self._common() | shown | {"x-ms-request-server-encrypted": "true"})

    def _read(
        self, method: str, blobs: dict[str, StoredBlob], name: str, headers: Mapping[str, str]
    ) -> Answered:
        found, wanted = blobs.get(name), headers.get("If-Match")
        if found is None and wanted:
            return self._refused(method, 412, "ConditionNotMet", _NOT_MET)
        if found is None:
            return self._refused(method, 404, "BlobNotFound", "The specified blob does not exist.")
        if wanted and wanted not in ("*", found.etag):
            return self._refused(method, 412, "ConditionNotMet", _NOT_MET)
        shown = self._common() | {
            "ETag": found.etag,
            "Last-Modified": _http_date(found.modified),
            "Content-Type": found.content_type,
            "x-ms-blob-type": "BlockBlob",
            "x-ms-creation-time": _http_date(found.modified),
            "x-ms-lease-state": "available",
            "x-ms-lease-status": "unlocked",
            "x-ms-server-encrypted": "true",
            **{f"x-ms-meta-{key}": value for key, value in found.metadata.items()},
        }
        size = len(found.data)
        if method == "HEAD":
            return Answered(200, shown | {"Content-Length": str(size)})
        if not (asked := headers.get("x-ms-range") or headers.get("Range")):
            return Answered(200, shown, found.data)
        first, _, last = asked.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last) if last else size - 1, size - 1)
        if start >= size:
            message = "The range specified is invalid for the current size of the resource."
            return self._refused(method, 416, "InvalidRange", message)
        shown |= {"Content-Range": f"bytes {start}-{end}/{size}"}
        return Answered(206, shown, found.data[start : end + 1])

    def _delete(self, blobs: dict[str, StoredBlob], name: str, headers: Mapping[str, str]) -> Answered:
        found = blobs.get(name)
        if found is None:
            return self._refused("DELETE", 404, "BlobNotFound", "The specified blob does not exist.")
        wanted = headers.get("If-Match")
        if wanted and wanted not in ("*", found.etag):
            return self._refused("DELETE", 412, "ConditionNotMet", _NOT_MET)
        del blobs[name]
        return Answered(202, self._common() | {"x-ms-delete-type-permanent": "true"})

    def _listing(self, container: str, blobs: dict[str, StoredBlob], options: Mapping[str, str]) -> bytes:
        prefix, delimiter = options.get("prefix", ""), options.get("delimiter", "")
        here = [name for name in sorted(blobs) if name.startswith(prefix)]
        folders = {prefix + n[len(prefix) :].partition(delimiter)[0] + delimiter for n in here if delimiter}
        folders = {folder for folder in folders if any(name.startswith(folder) for name in here)}
        shown = "".join(
            _entry(name, blobs[name], metadata="metadata" in options.get("include", ""))
            for name in here
            if not any(name.startswith(folder) for folder in folders)
        ) + "".join(f"<BlobPrefix><Name>{escape(each)}</Name></BlobPrefix>" for each in sorted(folders))
        return (
            '<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="https://account/" '
            f'ContainerName="{container}"><Prefix>{escape(prefix)}</Prefix><Blobs>{shown}</Blobs><NextMarker />'
            "</EnumerationResults>"
        ).encode()

    def _refused(self, method: str, status: int, code: str, message: str) -> Answered:
        headers = self._common() | {"x-ms-error-code": code}
        if method == "HEAD":
            return Answered(status, headers)
        body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
        return Answered(status, headers | _XML, body.encode())

    def _common(self) -> dict[str, str]:
        return {"Date": _http_date(self._now()), "x-ms-version": "2021-12-02", "x-ms-request-id": "crash"}

    def _etag(self) -> str:
        return f'"0x8D{next(self._versions):013X}"'


def _entry(name: str, blob: StoredBlob, *, metadata: bool) -> str:
    pairs = "".join(f"<{key}>{escape(value)}</{key}>" for key, value in blob.metadata.items())
    return (
        f"<Blob><Name>{escape(name)}</Name><Properties><Last-Modified>{_http_date(blob.modified)}</Last-Modified>"
        f"<Etag>{blob.etag.strip('"')}</Etag><Content-Length>{len(blob.data)}</Content-Length>"
        f"<Content-Type>{blob.content_type}</Content-Type><BlobType>BlockBlob</BlobType></Properties>"
        f"{f'<Metadata>{pairs}</Metadata>' if metadata else ''}</Blob>"
    )


def _http_date(moment: float) -> str:
    return format_datetime(datetime.fromtimestamp(int(moment), UTC), usegmt=True)
