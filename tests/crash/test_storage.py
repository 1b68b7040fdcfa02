"""Blob Storage in memory answers what Azurite answers to every request that the app and the agent make."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from node.errors import NodeError
from node.storage import Store
from shared.azure import blob
from shared.domain.errors import AppError
from tests.crash.rig import Rig
from tests.support.cloud import simulated_azure

ACCOUNT = "https://musterdev.blob.core.windows.net"
OLD = '"0x8D0000000000000"'


def _app(log: Callable[[str, Callable[[], Any]], None]) -> None:
    """Every operation of shared.azure.blob, where it succeeds and where it is refused."""
    log("create", lambda: blob.create_only("muster", "a/1.json", b"one"))
    log("create again", lambda: blob.create_only("muster", "a/1.json", b"two"))
    log("read", lambda: blob.read("muster", "a/1.json"))
    log("empty", lambda: (blob.create_only("muster", "a/0", b""), blob.read("muster", "a/0")))
    log("read what is not there", lambda: blob.read_or_none("muster", "a/2.json"))
    log("read where nothing is", lambda: blob.read_or_none("no-such-place", "a"))
    log("etag", lambda: _kind(blob.head("muster", "a/1.json").etag))
    log("etag as read", lambda: _same_etag("muster", "a/1.json"))
    log("stale write", lambda: blob.write_if_match("muster", "a/1.json", b"x", etag=OLD))
    log("write", lambda: blob.write_if_match("muster", "a/1.json", b"three", etag=_etag("a/1.json")))
    log("write what is gone", lambda: blob.write_if_match("muster", "a/9", b"x", etag=OLD))
    log("exists", lambda: (blob.exists("muster", "a/1.json"), blob.exists("muster", "a/9")))
    log("odd names", lambda: blob.create_only("muster", "b/ü &<1>=%20+.json", b"odd"))
    found = ("a/", "b/")  # what else is in the container differs
    log(
        "list", lambda: [(f.name, f.size, _kind(f.etag)) for p in found for f in blob.list_blobs("muster", p)]
    )
    log("list a prefix", lambda: [f.name for f in blob.list_blobs("muster", "b/ü &")])
    log("list nothing", lambda: list(blob.list_blobs("muster", "zzz")))
    log("list nowhere", lambda: list(blob.list_blobs("no-such-place")))
    log("listed as head", lambda: all(f.etag == _etag(f.name) for f in blob.list_blobs("muster", "a/")))
    log("folders", lambda: [blob.list_folders("muster", prefix) for prefix in ("", "b/", "zz/")][1:])
    log("folder", lambda: "a" in blob.list_folders("muster", ""))
    log("copy", lambda: _copied("a/1.json"))
    log("copy again", lambda: (_copied("a/0"), blob.read("muster", "copies/deep/1")))
    log("copy what is not there", lambda: _copied("a/9"))
    log("copies", lambda: (blob.list_folders("muster", "copies/"), blob.head("muster", "copies/deep/1").size))
    log("make a container", lambda: [blob.ensure_container("made-later") for _ in range(2)])  # type: ignore[func-returns-value]
    log("it is empty", lambda: [found.name for found in blob.list_blobs("made-later")])
    log("time", lambda: blob.service_now("muster").tzinfo is not None)
    log("stale delete", lambda: blob.delete("muster", "a/1.json", etag=OLD))
    log("delete", lambda: blob.delete("muster", "a/1.json"))
    log("delete again", lambda: blob.delete("muster", "a/1.json"))


def _copied(source: str) -> bool:
    return blob.copy_only("muster", "copies/deep/1", source_container="muster", source=source)


def _agent(log: Callable[[str, Callable[[], Any]], None]) -> None:
    """Every operation of node.storage."""
    store = Store(ACCOUNT, None)
    log("create", lambda: store.create("scores", "p", b"data", content_type="x/y", metadata={"rows": "3"}))
    log("create again", lambda: store.create("scores", "p", b"other", content_type="x/y"))
    log("metadata", lambda: [dict(f.metadata) for f in blob.list_blobs("scores", "p", metadata=True)])
    log("replace", lambda: [store.replace("muster", "q", data) for data in (b"1", b"2")])  # type: ignore[func-returns-value]
    log("read", lambda: store.read("muster", "q", max_bytes=10))
    log("too large", lambda: store.read("scores", "p", max_bytes=1))
    log("not there", lambda: store.read("scores", "r"))
    log("no container", lambda: store.read("no-such-place", "r"))
    log("frozen", lambda: store.read_frozen("scores", "p", blob.head("scores", "p").etag))
    log("changed", lambda: store.read_frozen("scores", "p", OLD))
    log("gone", lambda: store.read_frozen("scores", "gone", OLD))
    log("names", lambda: store.names("scores", ""))
    store.close()


def test_the_app_and_the_agent_see_the_same_as_with_azurite(tmp_path: Path) -> None:
    with simulated_azure(tmp_path) as cloud, cloud.inhabited():
        azurite = _observed()
    with _in_memory():
        assert _observed() == azurite
    assert len(azurite) > 30


def _observed() -> list[tuple[str, Any]]:
    seen: list[tuple[str, Any]] = []

    def log(what: str, act: Callable[[], Any]) -> None:
        try:
            seen.append((what, act()))
        except (AppError, NodeError) as error:
            said = re.sub(r"\s+", " ", str(error))[:60]
            seen.append((what, (type(error).__name__, getattr(error, "code", ""), said)))

    _app(log)
    _agent(log)
    return seen


@contextmanager
def _in_memory() -> Iterator[None]:
    with Rig() as rig, rig.storage_alone():
        yield


def _kind(etag: str) -> str:
    return re.sub("[0-9A-F]", "F", etag.upper())[:3]


def _etag(name: str) -> str:
    return blob.head("muster", name).etag


def _same_etag(container: str, name: str) -> bool:
    content = blob.read_with_etag(container, name)
    return content is not None and content.etag == _etag(name)
