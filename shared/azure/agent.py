"""The agent's code, and the user's scoring and training code, in Blob Storage under names that are their digests."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from node import package
from shared.azure import blob
from shared.config import settings
from shared.domain.deployment import Deployment
from shared.domain.errors import SpecError
from shared.domain.jobs import BlobRef
from shared.domain.retraining import Retraining
from shared.domain.workload import BatchScoring


@cache
def upload_agent() -> BlobRef:
    """Put this app's agent in place, once per process; the same sources give the same blob."""
    return _upload("node", package.build_package())


def reference(ref: BlobRef) -> package.BlobReference:
    """A blob as the agent is told of it."""
    return package.BlobReference(ref.container, ref.blob, ref.sha256)


def scoring_code(workload: BatchScoring) -> package.Package | None:
    """The user's scoring code as a zip, or None where the built-in scorer does it. Raises SpecError if it is absent."""
    if workload.scoring is None:
        return None
    return _user_code("scoring", workload.scoring.code, workload.scoring.entry)


def _user_code(section: str, code: str, entry: str) -> package.Package:
    return package.build_zip(_user_files(section, code, entry))


def _user_files(section: str, code: str, entry: str) -> dict[str, Path]:
    """The folder's files by the names they have in it. Raises SpecError if the entry is absent."""
    folder = Path(code)
    if not (folder / entry).is_file():
        raise SpecError(
            f"{section}.code: {folder / entry} is not in the deployed app; "
            f"{section}.code names a folder relative to the app's root, {section}.entry a file in it"
        )
    files = (f for f in folder.rglob("*") if f.is_file() and f.suffix != ".pyc")
    return {f.relative_to(folder).as_posix(): f for f in files}


def upload_scoring_code(workload: BatchScoring) -> dict[str, object] | None:
    """The job's `code` entry, or None for the built-in scorer."""
    archive = scoring_code(workload)
    if archive is None or workload.scoring is None:
        return None
    ref = _upload("scoring", archive)
    return {
        **ref.model_dump(mode="json"),
        "entry": workload.scoring.entry,
        "mini_batch_size": workload.scoring.mini_batch_size,
    }


def upload_training_code(workload: Retraining) -> dict[str, object]:
    """The job's `code` entry. Raises SpecError if the code is absent."""
    training = workload.training
    ref = _upload("training", _user_code("training", training.code, training.entry))
    return {**ref.model_dump(mode="json"), "entry": training.entry}


def upload_serving_code(workload: Deployment) -> BlobRef:
    """What the deployment runs: Muster's scoring script, and the user's own where one is declared."""
    if workload.scoring is None:
        return _upload("serving", package.build_serving())
    files = _user_files("scoring", workload.scoring.code, workload.scoring.entry)
    return _upload("serving", package.build_serving(files, workload.scoring.entry))


def _upload(kind: str, code: package.Package) -> BlobRef:
    container, name = settings().state_container, f"code/{kind}-{code.digest[:16]}.zip"
    blob.create_only(container, name, code.data)
    return BlobRef(container=container, blob=name, sha256=code.digest)
