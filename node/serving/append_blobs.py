"""Append blobs that many writers share: several instances of a deployment, and its successor beside it.

Azure appends a block whole or not at all. A blob's first block is its header, whoever writes it: it is sent under the
condition that the blob is still empty, and nobody sends rows before a header of theirs was taken or refused for that.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError

from node.errors import StorageUnavailable

_FULL = "BlockCountExceedsLimit"  # 50,000 blocks: one every ten seconds of five writers is a day's
_CONNECT_S, _READ_S = 5, 20


class AppendBlobs:
    """One container. Nothing is asked of Azure before the first append."""

    def __init__(self, account_url: str, container: str, client_id: str | None) -> None:
        self._account_url, self._container, self._client_id = account_url, container, client_id
        self._client: Any = None
        self._begun: set[str] = set()
        self._part: dict[str, int] = {}

    def append(self, name: str, header: bytes, rows: bytes) -> None:
        """Raises StorageUnavailable; whether the rows are there is then unknown."""
        try:
            try:
                self._append(self._named(name), header, rows)
            except ResourceNotFoundError:  # taken away under us: it is begun again
                self._begun.discard(self._named(name))
                self._append(self._named(name), header, rows)
        except HttpResponseError as error:
            if error.error_code == _FULL:
                self._part[name] = self._part.get(name, 1) + 1
            raise StorageUnavailable(f"append to {self._container}/{name}: {_said(error)}") from error
        except AzureError as error:
            raise StorageUnavailable(f"append to {self._container}/{name}: {_said(error)}") from error

    def _named(self, name: str) -> str:
        """`data.csv`, `data-2.csv` when that is full, and so on."""
        part = self._part.get(name, 1)
        return name if part == 1 else name.removesuffix(".csv") + f"-{part}.csv"

    def _append(self, name: str, header: bytes, rows: bytes) -> None:
        blob = self._open().get_blob_client(name)
        if name not in self._begun:
            with suppress(ResourceExistsError):
                blob.create_append_blob(match_condition=MatchConditions.IfMissing)
            try:
                blob.append_block(header, appendpos_condition=0)
            except HttpResponseError as error:
                if error.error_code != "AppendPositionConditionNotMet":
                    raise
            self._begun.add(name)
        blob.append_block(rows)

    def _open(self) -> Any:
        if self._client is None:
            from azure.identity import DefaultAzureCredential, ManagedIdentityCredential
            from azure.storage.blob import ContainerClient

            self._client = ContainerClient(
                self._account_url,
                self._container,
                credential=ManagedIdentityCredential(client_id=self._client_id)
                if self._client_id
                else DefaultAzureCredential(exclude_interactive_browser_credential=True),
                retry_total=0,  # what was not written is tried again with the next flush
                connection_timeout=_CONNECT_S,
                read_timeout=_READ_S,
            )
        return self._client


def _said(error: AzureError) -> str:
    code = getattr(error, "error_code", None)
    return str(code or type(error).__name__)
