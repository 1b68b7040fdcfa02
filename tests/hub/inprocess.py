"""A worker in this process: the SDK's own execution of turns, activities and entities, fed by a WorkSession."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from durabletask.worker import TaskHubGrpcWorker

from localdev.runner.hub import HubClosed, WorkSession


class InProcessWorker:
    """Runs what `registry` (a TaskHubGrpcWorker that is never started) has registered."""

    def __init__(self, session: WorkSession, registry: TaskHubGrpcWorker, *, threads: int = 8) -> None:
        self._session = session
        self._registry = registry
        self._stub = _Answers(session)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="activity")
        self._pump = threading.Thread(target=self._run, name="worker", daemon=True)

    def start(self) -> None:
        self._pump.start()

    def stop(self) -> None:
        self._session.close()
        self._pump.join()
        self._pool.shutdown(wait=True)

    def _run(self) -> None:
        while not self._session.closed:
            try:
                item = self._session.next()
            except HubClosed:
                return
            if item is not None:
                self._execute(item)

    def _execute(self, item: Any) -> None:
        token = item.completionToken
        worker: Any = self._registry
        match item.WhichOneof("request"):
            case "orchestratorRequest":
                worker._execute_orchestrator(item.orchestratorRequest, self._stub, token)
            case "activityRequest":
                self._pool.submit(worker._execute_activity, item.activityRequest, self._stub, token)
            case "entityRequest":
                worker._execute_entity_batch(item.entityRequest, self._stub, token)


class _Answers:
    """The three calls the SDK's worker makes on its gRPC stub, without gRPC."""

    def __init__(self, session: WorkSession) -> None:
        self.CompleteOrchestratorTask = session.complete_orchestrator
        self.CompleteActivityTask = session.complete_activity
        self.CompleteEntityTask = session.complete_entity
