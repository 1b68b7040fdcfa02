"""Cutting the frozen inputs of a run into shards, and the shards into batches, one for each machine."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence

from shared.domain.wire import Wire


class InputItem(Wire):
    """One input as it was when the run froze it. Size in bytes."""

    container: str
    blob: str
    etag: str
    size: int


class Shard(Wire):
    """Inputs that are scored together into one part. `key` names the part: what is scored, by what model and code."""

    id: str
    key: str
    items: tuple[InputItem, ...]

    @property
    def size(self) -> int:
        return sum(item.size for item in self.items)


def plan_shards(
    items: Sequence[InputItem], *, max_shards: int, model_digest: str, code_digest: str = ""
) -> tuple[Shard, ...]:
    """Every item in exactly one shard, shards about equal in bytes, none empty, items in the order of their names.

    The same items give the same shards whatever order they are listed in. 7 files, at most 3 shards -> 3 shards.
    """
    by_name = sorted(items, key=lambda item: (item.container, item.blob))
    groups = _balanced([item.size for item in by_name], max_shards)
    shards = []
    for number, group in enumerate(groups):
        members = tuple(by_name[index] for index in group)
        key = _shard_key(members, model_digest, code_digest)
        shards.append(Shard(id=f"{number:05d}", key=key, items=members))
    return tuple(shards)


def plan_batches(shards: Sequence[Shard], machines: int) -> tuple[tuple[str, ...], ...]:
    """The ids of the shards for each machine, about equal in bytes. Fewer shards than machines: fewer batches."""
    groups = _balanced([shard.size for shard in shards], machines)
    return tuple(tuple(shards[index].id for index in group) for group in groups)


def _balanced(sizes: Sequence[int], most: int) -> list[list[int]]:
    """Indices in at most `most` groups: the largest first, each to the lightest group so far.

    A file costs something even when it is empty, so a byte is added to each: many tiny files spread evenly too.
    """
    if most < 1:
        raise ValueError(f"at least one group is needed, not {most}")
    groups: list[list[int]] = [[] for _ in range(min(most, len(sizes)))]
    weights = [(0, number) for number in range(len(groups))]
    for index in sorted(range(len(sizes)), key=lambda index: (-sizes[index], index)):
        weight, number = weights[0]
        groups[number].append(index)
        heapq.heapreplace(weights, (weight + sizes[index] + 1, number))
    return sorted(sorted(group) for group in groups)


def _shard_key(items: Sequence[InputItem], model_digest: str, code_digest: str) -> str:
    digest = hashlib.sha256()
    for item in items:
        # Length first: no two lists of names and etags run together into the same bytes.
        for text in (item.container, item.blob, item.etag):
            digest.update(f"{len(text)}:{text}".encode())
    digest.update(f"|{model_digest}|{code_digest}".encode())
    return digest.hexdigest()[:16]
