"""Runs as far as their activities need them: a declaration, frozen inputs, and scores as an agent leaves them."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml

from activities import data
from shared.azure import blob, ledger
from shared.domain import names
from shared.domain.jobs import BlobRef
from shared.domain.registry import ModelRef
from shared.domain.scoring import (
    BatchRequest,
    DiscardRequest,
    FreezeRequest,
    FrozenInputs,
    PublishRequest,
    Receipt,
    ScoreRequest,
)
from shared.domain.shards import Shard
from shared.domain.workload import BatchScoring, parse_workload
from tests.support.estate import declaration

PREFIX = "settled/"
INPUTS = ("a.parquet", "b.parquet", "c.parquet", "d.parquet")
MODEL = ModelRef(
    name="plain", version="1", flavor="sklearn", container="models", prefix="plain/1/", file="m", sha256="a" * 64
)  # fmt: skip


@dataclass
class Run:
    """One run of `workload`. Two runs of one workload share its watermark and nothing else."""

    workload: BatchScoring

    @cached_property
    def request(self) -> ScoreRequest:
        slot = f"manual-{uuid.uuid4().hex[:16]}"
        return ScoreRequest(
            run=names.score_run_id(self.workload.name, slot), slot=slot, workload=self.workload, started_by="test"
        )  # fmt: skip

    @cached_property
    def inputs(self) -> FrozenInputs:
        return self.freeze()

    @property
    def id(self) -> str:
        return self.request.run

    @property
    def path(self) -> str:
        return self.request.output_path

    @property
    def shards(self) -> list[Shard]:
        frozen = blob.read_json(self.inputs.manifest.container, self.inputs.manifest.blob)
        return [Shard.model_validate(shard) for shard in frozen["shards"]]

    @property
    def publishing(self) -> PublishRequest:
        return PublishRequest(request=self.request, model=MODEL, inputs=self.inputs, output_path=self.path)

    @property
    def batch(self) -> BatchRequest:
        return BatchRequest(
            request=self.request, model=MODEL, inputs=self.inputs.manifest, index=0, offers=(), output_path=self.path
        )  # fmt: skip

    def freeze(self) -> FrozenInputs:
        return data.freeze_inputs(FreezeRequest(request=self.request, model=MODEL))

    def publish(self) -> Receipt:
        return data.publish_scores(self.publishing)

    def discard(self) -> None:
        data.discard_scores(DiscardRequest(request=self.request, output_path=self.path))

    def score(self, *, bad: int = 0) -> None:
        """Leave what agents leave: every shard's part and record, the first `bad` inputs quarantined."""
        for shard in self.shards:
            quarantined = shard.items[:bad]
            bad -= len(quarantined)
            self.commit(shard, quarantined=len(quarantined))

    def commit(self, shard: Shard, *, quarantined: int = 0) -> str:
        """One shard's part and record. Gives the part's name."""
        items: list[dict[str, Any]] = [
            {"blob": i.blob, "etag": i.etag, "status": "quarantined", "reason": "unreadable", "attempts": 3}
            if n < quarantined
            else {"blob": i.blob, "etag": i.etag, "status": "scored", "rows": 5}
            for n, i in enumerate(shard.items)
        ]
        rows = 5 * (len(items) - quarantined)
        part = self.write_part(shard) if rows else None
        ledger.create(
            f"runs/{self.id}/shards/{shard.id}.json",
            {
                "shard": shard.id, "key": shard.key, "job": "b00-e1", "model_sha256": MODEL.sha256, "items": items,
                "output": part and {"blob": part.blob, "sha256": part.sha256, "size": len(shard.key), "rows": rows},
            },
        )  # fmt: skip
        return part.blob if part else ""

    def write_part(self, shard: Shard) -> BlobRef:
        """A part as the agent commits it, its run and digest in its metadata."""
        name, content = f"{self.path}part-{shard.id}-{shard.key}.parquet", shard.key.encode()
        digest = hashlib.sha256(content).hexdigest()
        service = blob._service().get_blob_client("scores", name)
        service.upload_blob(content, metadata={"sha256": digest, "rows": "5", "run": self.id}, overwrite=True)
        return BlobRef(container="scores", blob=name, sha256=digest)

    def output(self) -> set[str]:
        """What is in the run's output folder."""
        return {found.name.removeprefix(self.path) for found in blob.list_blobs("scores", self.path)}


def workload(**changes: Any) -> BatchScoring:
    """A workload of its own on the inputs of this folder."""
    name = f"w-{uuid.uuid4().hex[:8]}"
    changes["input"] = {"prefix": PREFIX, **changes.get("input", {})}
    text = yaml.safe_dump(declaration(name, **changes))
    parsed = parse_workload(text, source="test", platforms=("dsvm", "local"))
    assert isinstance(parsed, BatchScoring)
    return parsed
