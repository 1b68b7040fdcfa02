"""Blobs, as the machine needs them: read exactly what was promised, create once, never overwrite a result."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.storage.blob import BlobServiceClient, ContentSettings, ExponentialRetry

from node.errors import InputChanged, NodeError, StorageRefused, StorageUnavailable

_SCOPE = "https://storage.azure.com/.default"


class NotThere(NodeError):
    """No such blob, in a container that exists."""


class Store:
    """One storage account. Each process opens its own: connections do not survive a fork."""

    def __init__(self, account_url: str, client_id: str | None) -> None:
        self._credential = _credential(client_id)
        retry = ExponentialRetry(initial_backoff=1, increment_base=2, retry_total=5)
        self._client = BlobServiceClient(account_url, credential=self._credential, retry_policy=retry)

    def sign_in(self) -> None:
        """Get a token now. Raises StorageRefused; later, the SDK would ask for a minute before it gave up."""
        with _refusals("sign in"):
            self._credential.get_token(_SCOPE)

    def close(self) -> None:
        self._client.close()

    def read(self, container: str, blob: str, *, max_bytes: int | None = None) -> bytes:
        """All of a blob. Raises NotThere, or NodeError if it is larger than `max_bytes`."""
        with _refusals(f"read {container}/{blob}"):
            stream = self._client.get_blob_client(container, blob).download_blob()
            if max_bytes is not None and stream.size > max_bytes:
                raise NodeError(f"{container}/{blob} has {stream.size} bytes, at most {max_bytes} are read")
            data: bytes = stream.readall()
            return data

    def read_frozen(self, container: str, blob: str, etag: str) -> bytes:
        """The blob as it was when its etag was noted; InputChanged if it is another one by now, or gone."""
        with _frozen(container, blob, etag), _refusals(f"read {container}/{blob}"):
            data: bytes = self._download(container, blob, etag).readall()
            return data

    def fetch(self, container: str, blob: str, path: Path, *, etag: str | None = None) -> str:
        """Stream a blob to `path`; the sha256 of what was written. With an etag, as `read_frozen`."""
        digest = hashlib.sha256()
        with _frozen(container, blob, etag), _refusals(f"read {container}/{blob}"), path.open("wb") as file:
            for chunk in self._download(container, blob, etag).chunks():
                digest.update(chunk)
                file.write(chunk)
        return digest.hexdigest()

    def _download(self, container: str, blob: str, etag: str | None) -> Any:
        client = self._client.get_blob_client(container, blob)
        if etag is None:
            return client.download_blob()
        quoted = '"' + etag.strip('"') + '"'  # a listing gives etags bare, the header wants them quoted
        return client.download_blob(etag=quoted, match_condition=MatchConditions.IfNotModified)

    def create(
        self,
        container: str,
        blob: str,
        data: Any,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
    ) -> bool:
        """Write a blob that must not exist. False if it does: whatever it holds stays untouched."""
        try:
            self._upload(container, blob, data, content_type, metadata, overwrite=False)
        except ResourceExistsError:
            return False
        return True

    def replace(self, container: str, blob: str, data: bytes, content_type: str = "application/json") -> None:
        """Write a blob that only says how things stand (progress, attempts, log). Never a result."""
        self._upload(container, blob, data, content_type, None, overwrite=True)

    def replace_file(self, container: str, blob: str, file: IO[bytes]) -> None:
        """As `replace`, for what a file holds: a checkpoint. Readers see the old blob or the new one, never half."""
        self._upload(container, blob, file, "application/octet-stream", None, overwrite=True)

    def remove(self, container: str, blob: str) -> None:
        """Remove what `replace_file` wrote. No error if it is not there."""
        with suppress(NotThere), _refusals(f"delete {container}/{blob}"):
            self._client.get_blob_client(container, blob).delete_blob()

    def names(self, container: str, prefix: str) -> list[str]:
        with _refusals(f"list {container}/{prefix}"):
            return list(self._client.get_container_client(container).list_blob_names(name_starts_with=prefix))

    def _upload(
        self,
        container: str,
        blob: str,
        data: Any,
        content_type: str,
        metadata: Mapping[str, str] | None,
        *,
        overwrite: bool,
    ) -> None:
        with _refusals(f"write {container}/{blob}"):
            self._client.get_blob_client(container, blob).upload_blob(
                data,
                overwrite=overwrite,
                metadata=dict(metadata) if metadata else None,
                content_settings=ContentSettings(content_type=content_type),
            )


def _credential(client_id: str | None) -> Any:
    """The machine's own identity where the job names one; else what the environment says (AZURE_TOKEN_CREDENTIALS)."""
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

    if client_id:
        return ManagedIdentityCredential(client_id=client_id)
    return DefaultAzureCredential(exclude_interactive_browser_credential=True)


@contextmanager
def _frozen(container: str, blob: str, etag: str | None) -> Iterator[None]:
    """Says InputChanged where a blob is not the one whose etag was noted."""
    try:
        yield
    except ResourceModifiedError as error:  # also what a deleted blob answers to If-Match
        raise InputChanged(f"{container}/{blob} is not what was frozen: its etag is not {etag}") from error
    except NotThere as error:
        if etag is None:
            raise
        raise InputChanged(f"{container}/{blob} is not what was frozen: it was deleted") from error


@contextmanager
def _refusals(what: str) -> Iterator[None]:
    """Storage's answers in our words. 409 and 412 pass through: the caller knows what they mean."""
    try:
        yield
    except (ResourceExistsError, ResourceModifiedError):
        raise
    except ClientAuthenticationError as error:
        raise StorageRefused(f"{what}: {_said(error)}") from error
    except ResourceNotFoundError as error:
        if getattr(error, "error_code", None) == "ContainerNotFound":
            raise StorageRefused(f"{what}: {_said(error)}") from error
        raise NotThere(f"{what}: {_said(error)}") from error
    except HttpResponseError as error:
        refused = error.status_code in (400, 401, 403)
        raise (StorageRefused if refused else StorageUnavailable)(f"{what}: {_said(error)}") from error
    except AzureError as error:
        raise StorageUnavailable(f"{what}: {_said(error)}") from error


def _said(error: AzureError) -> str:
    """The first line of the answer: the rest repeats headers and request ids, and could repeat a signature."""
    code = getattr(error, "error_code", None)
    first = str(error.message).strip().splitlines()[0] if str(error.message).strip() else type(error).__name__
    return f"{code}: {first}" if code else first
