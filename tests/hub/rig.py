"""A hub with a client and a worker on it: the SDK's stock worker over gRPC, or one in this process."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from durabletask.client import OrchestrationState, OrchestrationStatus, TaskHubGrpcClient
from durabletask.grpc_options import GrpcChannelOptions
from durabletask.worker import TaskHubGrpcWorker

from localdev.clock import Clock
from localdev.runner.hub import TaskHub
from tests.hub.app import register
from tests.hub.inprocess import InProcessWorker

Mode = Literal["grpc", "in process"]

_UNLIMITED = GrpcChannelOptions(max_receive_message_length=-1, max_send_message_length=-1)
_QUIET = logging.getLogger("tests.hub.sdk")  # the SDK logs every failure that a test provokes
_QUIET.setLevel(logging.CRITICAL)


class Rig:
    def __init__(self, path: Path | None, clock: Clock, mode: Mode, **options: Any) -> None:
        self.clock = clock
        self.mode = mode
        self.hub = TaskHub.open(path, clock=clock, **options)
        self.address = f"127.0.0.1:{self.hub.serve_grpc()}"
        self.client = TaskHubGrpcClient(host_address=self.address, channel_options=_UNLIMITED, logger=_QUIET)
        self.worker = self._start_worker()

    def _start_worker(self) -> TaskHubGrpcWorker | InProcessWorker:
        registry = register(
            TaskHubGrpcWorker(host_address=self.address, channel_options=_UNLIMITED, logger=_QUIET)
        )
        worker = registry if self.mode == "grpc" else InProcessWorker(self.hub.connect("tests"), registry)
        worker.start()
        return worker

    def close(self) -> None:
        self.worker.stop()
        self.client.close()
        self.hub.close()

    def start(self, orchestrator: Any, input: Any = None, **options: Any) -> str:
        return str(self.client.schedule_new_orchestration(orchestrator, input=input, **options))

    def finish(self, instance_id: str, timeout: float = 30) -> OrchestrationState:
        state = self.client.wait_for_orchestration_completion(instance_id, timeout=timeout)
        assert state is not None, f"{instance_id} is unknown"
        return state

    def output(self, instance_id: str, timeout: float = 30) -> Any:
        """The result of an instance that completes well."""
        state = self.finish(instance_id, timeout)
        assert state.runtime_status is OrchestrationStatus.COMPLETED, state
        return json.loads(state.serialized_output) if state.serialized_output else None

    def run(self, orchestrator: Any, input: Any = None, **options: Any) -> Any:
        return self.output(self.start(orchestrator, input, **options))

    def status(self, instance_id: str) -> OrchestrationStatus | None:
        state = self.client.get_orchestration_state(instance_id)
        return state.runtime_status if state else None

    def custom_status(self, instance_id: str) -> Any:
        state = self.client.get_orchestration_state(instance_id)
        return (
            json.loads(state.serialized_custom_status) if state and state.serialized_custom_status else None
        )


def until(condition: Callable[[], object], what: str = "the condition", within_s: float = 20) -> None:
    """Poll until `condition` holds; fails if it does not in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {within_s} s"
        time.sleep(0.005)


def new_id(what: str) -> str:
    return f"{what}-{uuid.uuid4().hex[:8]}"
