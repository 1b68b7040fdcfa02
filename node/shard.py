"""Scoring one shard, from its inputs to its commit record. Safe to repeat at any point, by anyone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from node.attempts import Ledger
from node.errors import ItemFault, WorkerDied
from node.fields import is_safe_name
from node.job import Item, ScoreJob, Shard
from node.parts import Commit, PartFile, commit_part, find_part
from node.records import SCHEMA, create_record
from node.scoring import Input, Scored, Scorer
from node.storage import Store

Tell = Callable[[str, Any], None]
"""`tell("begin", [indices])` before a batch, `tell("item", (index, "scored"|"quarantined", rows))` after each input."""


class ShardScorer:
    """Scores shards of one job, one after the other, in one process."""

    def __init__(self, store: Store, job: ScoreJob, scorer: Scorer, work: Path) -> None:
        self._store, self._job, self._scorer, self._work = store, job, scorer, work

    def score(self, shard: Shard, tell: Tell) -> dict[str, Any]:
        """Score, commit the part, then the record; the record that is in storage at the end, ours or a twin's.

        Raises InputChanged, ForeignOutput, WorkerDied, or what storage said; then there is no record.
        """
        ledger = Ledger(self._store, self._job, shard)
        if ledger.unexplained >= self._job.attempts:
            raise WorkerDied(
                f"shard {shard.id}: workers died {ledger.unexplained} times outside of any input"
            )
        ledger.start()
        path = self._work / f"part-{shard.id}.parquet"
        path.unlink(missing_ok=True)
        with PartFile(path) as part:
            items = _Attempt(self, shard, part, ledger, tell).run()
        tell("begin", [])
        record = self._commit(shard, part, items)
        path.unlink(missing_ok=True)
        return record

    def _commit(self, shard: Shard, part: PartFile, items: list[dict[str, Any]]) -> dict[str, Any]:
        container, blob = self._job.output_container, self._job.part_blob(shard)
        sources = {item.blob for item in shard.items}
        commit: Commit | None
        if part.rows:
            commit = commit_part(self._store, container, blob, part, sources, run=self._job.run)
        else:
            commit = find_part(self._store, container, blob, sources)
        if commit is not None and commit.sources is not None:
            items = _as_the_first_writer_had_it(items, commit.sources)
        record = {
            "schema": SCHEMA,
            "shard": shard.id,
            "key": shard.key,
            "job": self._job.job,
            "model_sha256": self._job.model.sha256 if self._job.model else None,
            "code_sha256": self._job.code.sha256 if self._job.code else None,
            "output": _output(commit),
            "items": items,
        }
        return create_record(self._store, self._job, shard, record)

    def attempt(self, batch: list[Input]) -> Scored:
        return self._scorer.score(batch)

    @property
    def batch_size(self) -> int:
        return self._scorer.batch_size

    @property
    def attempts(self) -> int:
        return self._job.attempts

    def fetch(self, index: int, item: Item) -> Input:
        return Input(index, item.blob, self._store.read_frozen(item.container, item.blob, item.etag))


class _Attempt:
    """One pass over a shard's inputs, in order, so that the part's rows are in order whatever was retried."""

    def __init__(self, owner: ShardScorer, shard: Shard, part: PartFile, ledger: Ledger, tell: Tell) -> None:
        self._owner, self._shard, self._part, self._ledger, self._tell = owner, shard, part, ledger, tell
        self._outcomes: list[dict[str, Any]] = []

    def run(self) -> list[dict[str, Any]]:
        for batch in self._batches():
            if len(batch) == 1 or not self._score_together(batch):
                for index in batch:
                    self._score_alone(index)
        return self._outcomes

    def _batches(self) -> Iterator[list[int]]:
        """Neighbours in groups of the scorer's size; an input under suspicion, or with a bad name, is alone."""
        group: list[int] = []
        for index, item in enumerate(self._shard.items):
            alone = self._ledger.is_suspect(index) or not is_safe_name(item.blob)
            if group and (alone or len(group) == self._owner.batch_size):
                yield group
                group = []
            if alone:
                yield [index]
            else:
                group.append(index)
        if group:
            yield group

    def _score_together(self, batch: list[int]) -> bool:
        """False if any fault came up: then each input is tried alone, to find whose it is."""
        try:
            rows = self._try(batch)
        except ItemFault:
            return False
        for index, count in zip(batch, rows, strict=True):
            self._scored(index, *count, attempts=1)
        return True

    def _score_alone(self, index: int) -> None:
        if not is_safe_name(self._shard.items[index].blob):
            self._quarantined(index, "its name would leave its place", attempts=0)
            return
        strike = self._ledger.strike(index)
        tries, reason = strike.count, strike.reason
        while tries < self._owner.attempts:
            tries += 1
            try:
                (count,) = self._try([index])
            except ItemFault as fault:
                reason = str(fault)
                continue
            self._scored(index, *count, attempts=tries)
            return
        self._quarantined(index, reason, attempts=tries)

    def _try(self, batch: list[int]) -> list[tuple[int, int]]:
        """Of each input, how many rows it has, and how many of them no unit's model could predict."""
        self._ledger.mark(batch)
        self._tell("begin", batch)
        scored = self._owner.attempt([self._owner.fetch(index, self._shard.items[index]) for index in batch])
        self._part.append(scored.table)
        return list(zip(scored.rows, scored.unpredicted or [0] * len(batch), strict=True))

    def _scored(self, index: int, rows: int, unpredicted: int, attempts: int) -> None:
        self._note(index, "scored", rows, None, attempts)
        if unpredicted:
            self._outcomes[-1]["unpredicted"] = unpredicted

    def _quarantined(self, index: int, reason: str, attempts: int) -> None:
        self._note(index, "quarantined", 0, reason, attempts)

    def _note(self, index: int, status: str, rows: int, reason: str | None, attempts: int) -> None:
        item = self._shard.items[index]
        outcome = {
            "blob": item.blob,
            "etag": item.etag,
            "status": status,
            "rows": rows,
            "reason": reason,
            "attempts": attempts,
        }
        self._outcomes.append(outcome)
        self._tell("item", (index, status, rows))


def _as_the_first_writer_had_it(items: list[dict[str, Any]], sources: dict[str, int]) -> list[dict[str, Any]]:
    """The receipt must describe the part that is there, which may hold more or fewer inputs than ours would."""
    told = []
    for item in items:
        if rows := sources.get(item["blob"]):
            told.append({**item, "status": "scored", "rows": rows, "reason": None})
        elif item["status"] == "scored":
            reason = "not in the part that another writer committed first"
            told.append({**item, "status": "quarantined", "rows": 0, "reason": reason})
        else:
            told.append(item)
    return told


def _output(commit: Commit | None) -> dict[str, Any] | None:
    if commit is None:
        return None
    part = commit.part
    output: dict[str, Any] = {"blob": part.blob, "sha256": part.sha256, "size": part.size, "rows": part.rows}
    if commit.sources is not None:
        output["first_writer"] = {"ours_sha256": commit.ours_sha256}
    return output
