"""The agent as one zip with the same bytes for the same sources, and the script that starts it on a machine.

The app imports this module, and only this one; it needs the standard library alone.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PARAMETER = "MUSTER_NODE"
"""Name of the bootstrap's one parameter. Named run-command parameters become environment variables; unnamed ones are
pasted unquoted into a shell's command line (Azure/run-command-handler-linux, internal/exec/exec.go)."""

SCORING_ENTRY = "muster_score.py"
"""The entry script of `build_serving`'s archive."""

_FOLDER = Path(__file__).parent
_LEANED_ON = ("__init__", "errors", "fields", "job", "models", "storage")  # by node/serving
_NOT_SHIPPED = {"package.py"}
_UNIX = 3
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment a zip can name


@dataclass(frozen=True)
class Package:
    data: bytes
    digest: str


@dataclass(frozen=True)
class BlobReference:
    container: str
    blob: str
    sha256: str


@cache
def build_package() -> Package:
    """The agent: this folder's modules and requirements, as the package `node`."""
    paths = (path for pattern in ("*.py", "*.txt") for path in _FOLDER.glob(pattern))
    return build_zip({f"node/{path.name}": path for path in paths if path.name not in _NOT_SHIPPED})


@cache
def conversion_tools() -> str:
    """A digest of what converts a model: the pinned libraries, and our own converters."""
    files = ("requirements.txt", "conversion.txt", "convert_child.py", "convert_trees.py")
    return hashlib.sha256(b"".join((_FOLDER / name).read_bytes() for name in files)).hexdigest()


def build_serving(user_code: Mapping[str, Path] | None = None, entry: str = "") -> Package:
    """What an online deployment runs: SCORING_ENTRY, this package's serving part, and the user's own script if any."""
    serving = _FOLDER / "serving"
    files: dict[str, Path | bytes] = {f"node/{name}.py": _FOLDER / f"{name}.py" for name in _LEANED_ON}
    files |= {
        f"node/serving/{path.name}": path for path in serving.glob("*.py") if path.name != SCORING_ENTRY
    }
    files[SCORING_ENTRY] = serving / SCORING_ENTRY
    if user_code is not None:
        files |= {f"user_code/{name}": path for name, path in user_code.items()}
        files["muster-serving.json"] = json.dumps({"entry": entry}).encode()
    return build_zip(files)


def build_zip(files: Mapping[str, Path | bytes]) -> Package:
    """A zip of these files under these names, and its sha256: the same bytes for the same contents, wherever it is built.

    Stored, not deflated: compressors differ between machines.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system, entry.external_attr = _UNIX, 0o100644 << 16
            archive.writestr(entry, content if isinstance(content, bytes) else content.read_bytes())
    return Package(buffer.getvalue(), hashlib.sha256(buffer.getvalue()).hexdigest())


def bootstrap_script() -> str:
    """The script of the managed run command. Nothing is ever pasted into it, so its hash never changes."""
    return (_FOLDER / "bootstrap.sh").read_text(encoding="utf-8")


def bootstrap_parameter(
    account_url: str, agent: BlobReference, job: BlobReference, client_id: str | None
) -> str:
    """The value of PARAMETER."""
    return _encoded(
        {"account_url": account_url, "agent": vars(agent), "job": vars(job), "client_id": client_id},
    )


def job_reference(account_url: str, job: BlobReference, client_id: str | None) -> str:
    """The argument of `python -m node.agent`, for whoever starts the agent without the bootstrap."""
    return _encoded({"account_url": account_url, **vars(job), "client_id": client_id})


def _encoded(document: dict[str, object]) -> str:
    return base64.b64encode(json.dumps(document, sort_keys=True).encode()).decode("ascii")
