"""What can go wrong on a machine, and the exit code each fault ends with.

NodeError                1   anything without a better word
  JobSpecError           2   the job cannot be read, is not the one that was promised, or names what it must not
  ModelLoadError         3   the model is not the one that was promised, or raises on load
  CodeLoadError          3   the user's code cannot be unpacked or imported, or its init() raises
  StorageRefused         4   the identity may not do that, or the container is not there
  StorageUnavailable     1   storage did not answer after the SDK's own retries
  InputChanged           1   a frozen input has another etag, or is gone: its shard fails
  ForeignOutput          1   the output's name holds something that is no part of this shard
  WorkerDied             1   a worker died again and again with no item to blame
  Stopped                1   SIGTERM
ItemFault                -   one input cannot be scored: retried, then quarantined with this reason
"""

from __future__ import annotations

_REASON_CHARS = 500  # a reason lands in receipts and status pages: one paragraph, never a dump of the data


class NodeError(Exception):
    exit_code = 1

    @property
    def kind(self) -> str:
        return type(self).__name__


class JobSpecError(NodeError):
    exit_code = 2


class ModelLoadError(NodeError):
    exit_code = 3


class CodeLoadError(NodeError):
    exit_code = 3


class StorageRefused(NodeError):
    exit_code = 4


class StorageUnavailable(NodeError):
    pass


class InputChanged(NodeError):
    pass


class ForeignOutput(NodeError):
    pass


class WorkerDied(NodeError):
    pass


class Stopped(NodeError):
    pass


class ItemFault(Exception):
    """This input cannot be scored; the message is the reason a person will read."""


BY_KIND: dict[str, type[NodeError]] = {
    fault.__name__: fault
    for fault in (
        NodeError,
        JobSpecError,
        ModelLoadError,
        CodeLoadError,
        StorageRefused,
        StorageUnavailable,
        InputChanged,
        ForeignOutput,
        WorkerDied,
        Stopped,
    )
}


def reason_of(error: BaseException) -> str:
    """`ValueError: bad row`, on one line and of bounded length."""
    words = " ".join(str(error).split())
    text = words if isinstance(error, ItemFault | NodeError) else f"{type(error).__name__}: {words}"
    return text if len(text) <= _REASON_CHARS else text[: _REASON_CHARS - 3] + "..."
