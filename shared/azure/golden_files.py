"""The golden answers of a deployment run: read once, from the app's folder and from the model's, and then fixed."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from shared.azure import blob, ledger, model_store
from shared.domain.deploy import DeployRequest
from shared.domain.errors import SpecError
from shared.domain.golden import Golden, Signature, read_golden, read_signature
from shared.domain.registry import ModelRef

logger = logging.getLogger(__name__)

FILE = "golden.jsonl"


def card_of(model: ModelRef) -> dict[str, Any]:
    return model_store.read_card({"container": model.container, "prefix": model.prefix})


def freeze(request: DeployRequest, model: ModelRef) -> tuple[Golden, ...]:
    """The run's golden answers, of both files; none where there is neither. The first call fixes them by their digests.

    Raises SpecErrors with every fault of the files, SpecError if the declared one is not in the deployed app.
    """
    path = f"deployments/{request.run}/golden.json"
    signature = read_signature(card_of(model))
    frozen = ledger.read(path)
    if frozen is None:
        found = [_as_record(source, data) for source, data in _files(request, model)]
        for each in found:
            _parsed(each, signature)
        if ledger.claim(path, found):
            logger.info("golden answers fixed", extra={"run": request.run, "files": len(found)})
        frozen = ledger.read(path)
    return tuple(golden for each in frozen or () for golden in _parsed(each, signature))


def _files(request: DeployRequest, model: ModelRef) -> Iterator[tuple[str, bytes]]:
    declared = request.workload.tests.golden
    if declared:
        try:
            yield declared, Path(declared).read_bytes()
        except OSError as error:
            raise SpecError(
                f"tests.golden: {declared} is not in the deployed app ({error.strerror}); "
                "it is a path relative to the app's root"
            ) from error
    own = blob.read_or_none(model.container, f"{model.prefix}{FILE}")
    if own is not None:
        yield FILE, own


def _as_record(source: str, data: bytes) -> dict[str, str]:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise SpecError(f"{source} is not UTF-8: {error}") from error
    return {"source": source, "sha256": hashlib.sha256(data).hexdigest(), "text": text}


def _parsed(record: Mapping[str, str], signature: Signature) -> tuple[Golden, ...]:
    return read_golden(record["text"].encode(), record["source"], signature)
