"""Code in the Azure ML workspace: what a deployment runs, registered once under the digest of its content.

Azure ML gives a container and a signature for the upload (startPendingUpload), and the version then points there. A
version is written once, so whoever finds it need not upload. Shapes: mfe.json 2024-10-01, CodeVersion,
PendingUploadRequestDto.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
import zipfile
from collections.abc import Mapping
from typing import Any

from node import package
from shared.azure import blob, ml_client
from shared.azure.classify import classified
from shared.domain.errors import ConflictError, PlatformError, SpecError
from shared.domain.jobs import BlobRef

logger = logging.getLogger(__name__)

NAME = "muster-serving"
MAX_BYTES = 64 * 1024 * 1024  # unpacked
_SAFE = re.compile(r"[\w.-][\w. -]*(?:/[\w.-][\w. -]*)*", re.ASCII)
_USER_CODE, _MANIFEST = "user_code", "muster-serving.json"


def serving_files(archive: BlobRef | None, entry: str) -> dict[str, bytes]:
    """What a deployment runs, by path: Muster's own scoring script, and below it the user's if there is one.

    An archive that was built whole is taken as it is. Raises ConflictError if the archive is not the one that was fixed,
    SpecError if it is none that can be unpacked.
    """
    own = _unpacked(package.build_serving().data, "Muster's own code")
    if archive is None:
        return own
    where = f"{archive.container}/{archive.blob}"
    data = blob.read(archive.container, archive.blob)
    if hashlib.sha256(data).hexdigest() != archive.sha256:
        raise ConflictError(f"{where} is not the archive that was fixed", code="CodeChanged")
    files = _unpacked(data, where)
    if package.SCORING_ENTRY in files:
        return files
    if entry not in files:
        raise SpecError(f"{where} has no {entry}; it has {', '.join(sorted(files)[:10])}")
    users = {f"{_USER_CODE}/{name}": content for name, content in files.items()}
    return {**own, **users, _MANIFEST: json.dumps({"entry": entry}).encode()}


def ensure_code(files: Mapping[str, bytes]) -> str:
    """The ARM id of the code version with these files; uploaded and registered if it is not there. Safe to repeat."""
    version = content_digest(files)[:16]
    operations, what = ml_client.client().code_versions, f"code {NAME}:{version}"
    id_ = f"{ml_client.workspace().id}/codes/{NAME}/versions/{version}"
    if not ml_client.looked(operations.get, f"read {what}", NAME, version).is_missing:
        return id_
    uri = _upload(what, version, files)
    body = {
        "properties": {"codeUri": uri, "description": "What Muster's deployments run", "isAnonymous": True}
    }
    try:
        ml_client.sent(operations.create_or_update, f"register {what}", NAME, version, body)
    except PlatformError:
        # A twin registered the same content first, and an address cannot be changed: what is there counts.
        if ml_client.looked(operations.get, f"read {what} back", NAME, version).is_missing:
            raise
        return id_
    logger.info("code registered", extra={"code": what, "files": len(files)})
    return id_


def content_digest(files: Mapping[str, bytes]) -> str:
    """SHA-256 over names and contents: the same for the same files, however they were packed."""
    told = hashlib.sha256()
    for name, content in sorted(files.items()):
        told.update(f"{len(name.encode())} {name} {len(content)} ".encode() + content)
    return told.hexdigest()


def _upload(what: str, version: str, files: Mapping[str, bytes]) -> str:
    """Put the files where Azure ML says, and give the address of their folder."""
    from azure.storage.blob import ContainerClient

    operation = ml_client.client().code_versions.create_or_get_start_pending_upload
    asked = {"pendingUploadType": "TemporaryBlobReference"}
    answer = ml_client.sent(operation, f"begin the upload of {what}", NAME, version, asked)
    place: dict[str, Any] = answer.body["blobReferenceForConsumption"]
    folder = f"{NAME}-{version}"
    with (
        classified(f"upload {what}"),
        ContainerClient.from_container_url(
            place["credential"]["sasUri"],
            retry_total=0,
            connection_timeout=blob.CONNECT_TIMEOUT_S,
            read_timeout=blob.READ_TIMEOUT_S,
        ) as container,
    ):
        for name, content in sorted(files.items()):
            container.upload_blob(f"{folder}/{name}", content, overwrite=True)
    return f"{str(place['blobUri']).rstrip('/')}/{folder}"


def _unpacked(data: bytes, source: str) -> dict[str, bytes]:
    """An archive's files by their names. Raises SpecError for names that lead out of a folder, and for bombs."""
    files: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if sum(entry.file_size for entry in entries) > MAX_BYTES:
                raise SpecError(f"{source} unpacks to more than {MAX_BYTES} bytes")
            for entry in entries:
                if not _SAFE.fullmatch(entry.filename) or ".." in entry.filename.split("/"):
                    raise SpecError(f"{source} has a file called {entry.filename!r}")
                files[entry.filename] = archive.read(entry)
    except zipfile.BadZipFile as error:
        raise SpecError(f"{source} is no zip archive: {error}") from error
    return files
