"""What runs a job's command on a node: fetches code and inputs, runs it, keeps logs and outputs in the blob store.

Run as a program by job_runner.py, with the path of a JSON document; uses the standard library only and goes through
the proxy like everything on a node. Ends with the command's own exit code; 70 if files could not be moved, with the
reason in `error` beside the document. The command's output is mirrored to its log blob while it runs, and so are the
folders that are declared to be.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

_MIRROR_S = 1.0
_TIMEOUT_S = 300
_VERSION = "2021-10-04"
_NOT_MOVED = 70
_SIGNALLED = 128  # as a shell tells an end by a signal: 137 for SIGKILL


class Place:
    """A folder of blobs, or one blob: {"container": url, "signature": query, "path": prefix}."""

    def __init__(self, description: dict[str, str]) -> None:
        self._container, self._signature = description["container"], description["signature"]
        self.path = description["path"]

    def names(self) -> Iterator[str]:
        marker = ""
        while True:
            query = f"restype=container&comp=list&prefix={quote(self.path, safe='')}&marker={quote(marker, safe='')}"
            root = ElementTree.fromstring(self._send("GET", f"{self._container}?{query}&{self._signature}"))
            yield from (name.text or "" for name in root.iter("Name"))
            marker = root.findtext("NextMarker") or ""
            if not marker:
                return

    def read(self, name: str) -> bytes:
        return self._send("GET", f"{self._container}/{quote(name)}?{self._signature}")

    def write(self, name: str, data: bytes) -> None:
        self._send("PUT", f"{self._container}/{quote(name)}?{self._signature}", data)

    def _send(self, method: str, url: str, data: bytes | None = None) -> bytes:
        headers = {"x-ms-version": _VERSION}
        if data is not None:
            headers |= {"x-ms-blob-type": "BlockBlob", "Content-Type": "application/octet-stream"}
        request = urllib.request.Request(url, data=data, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            content: bytes = answer.read()
            return content


def download(place: Place, target: Path, *, is_file: bool, required: bool) -> None:
    """A blob to a file, or everything below a prefix to a folder. Raises LookupError for an input that is empty."""
    if is_file:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.write_bytes(place.read(place.path))
        except urllib.error.HTTPError as error:
            raise LookupError(f"{place.path}: {error}") from error
        return
    target.mkdir(parents=True, exist_ok=True)
    prefix = place.path.rstrip("/")
    found = [name for name in place.names() if not prefix or name.startswith(f"{prefix}/")]
    if required and not found:
        raise LookupError(f"no blobs found at {place.path}")
    for name in found:
        file = target / name.removeprefix(prefix).lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(place.read(name))


class Mirror:
    """Uploads what changed in a file or folder since it last looked."""

    def __init__(self, source: Path, place: Place) -> None:
        self._source, self._place = source, place
        self._seen: dict[Path, tuple[int, int]] = {}

    def look(self) -> None:
        files = [self._source] if self._source.is_file() else sorted(self._source.rglob("*"))
        for file in files:
            if not file.is_file():
                continue
            stat = file.stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            if self._seen.get(file) == stamp:
                continue
            name = self._place.path.rstrip("/")
            if file != self._source:
                name = f"{name}/{file.relative_to(self._source).as_posix()}".lstrip("/")
            self._place.write(name, file.read_bytes())
            self._seen[file] = stamp


def main(document: Path) -> int:
    job = json.loads(document.read_text())
    document.unlink()
    for each in job["folders"]:
        Path(each).mkdir(parents=True, exist_ok=True)
    try:
        for each in job["downloads"]:
            place = Place(each["place"])
            download(place, Path(each["to"]), is_file=each["file"], required=each["required"])
        mirrors = [Mirror(Path(each["from"]), Place(each["place"])) for each in job["uploads"]]
        code = _run(job, mirrors)
        for mirror in mirrors:
            mirror.look()
    except (OSError, LookupError) as error:
        document.with_name("error").write_text(str(error))
        return _NOT_MOVED
    return code


def _run(job: dict[str, Any], mirrors: list[Mirror]) -> int:
    environment = {**os.environ, **job["environment"]}
    log = Path(job["log"])
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        command = subprocess.Popen(
            ["/bin/bash", "-c", job["command"]],
            cwd=job["folder"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        while True:
            for mirror in mirrors:
                _look_again(mirror)
            try:
                code = command.wait(_MIRROR_S)
                return code if code >= 0 else _SIGNALLED - code
            except subprocess.TimeoutExpired:
                continue


def _look_again(mirror: Mirror) -> None:
    """A file may vanish while it is read, and storage may be away: the next look, or the last one, makes up for it."""
    with contextlib.suppress(OSError):
        mirror.look()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
