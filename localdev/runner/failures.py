"""An exception as the Functions host sees it: the worker sends text, the durable extension parses it back.

Azure knows of a failed function only `Result: Failure\\nException: {Type}: {message}\\nStack: {stack}`. The durable
extension takes the type up to the first ": " and of the message only the first line
(OutOfProcMiddleware.TrySplitExceptionTypeFromMessage), so an orchestrator there sees exactly as much as here.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

from azure_functions_runtime.utils.tracing import serialize_exception
from durabletask.internal import orchestrator_service_pb2 as pb
from google.protobuf.wrappers_pb2 import StringValue

_PROTOS = SimpleNamespace(RpcException=SimpleNamespace)


@dataclass(frozen=True)
class Failure:
    type: str
    message: str
    stack: str
    text: str  # `Type: whole message`, as the worker reported it

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        report = serialize_exception(error, _PROTOS)
        kind, separator, rest = str(report.message).partition(": ")
        if not separator:
            kind, rest = "(unknown)", str(report.message)
        return cls(
            kind.rstrip(), rest.split("\n", 1)[0].rstrip(), str(report.stack_trace), str(report.message)
        )

    def details(self) -> pb.TaskFailureDetails:
        return failure_details(self.type, self.message, self.stack)


def failure_details(
    kind: str, message: str, stack: str = "", *, retriable: bool = True
) -> pb.TaskFailureDetails:
    return pb.TaskFailureDetails(
        errorType=kind,
        errorMessage=message,
        stackTrace=StringValue(value=stack) if stack else None,
        isNonRetriable=not retriable,
    )
