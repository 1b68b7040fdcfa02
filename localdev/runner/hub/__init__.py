"""A durable task hub in one SQLite file: what Azure Storage and the Durable Functions extension are to an app in Azure.

Every change is one transaction that is on disk before it is answered. Work is handed out at least once; its outcome
enters a history exactly once. Time is the injected clock's; only visibility timeouts run on wall time.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import durabletask.internal.orchestrator_service_pb2_grpc as stubs
import grpc

from localdev.clock import Clock

from .delivery import Delivery
from .entity_management import Entity, EntityManagement
from .errors import (
    HubClosed,
    HubDamaged,
    HubError,
    HubFull,
    HubLocked,
    HubTooNew,
    HubUnavailable,
    InstanceExists,
    InstanceNotFound,
    InstanceState,
    InvalidMessage,
)
from .instances import FINAL, Instance, Status
from .management import InstanceManagement, Replaceable
from .servicer import HubServicer
from .session import Limits, WorkSession
from .store import Store, Synchronous, Transaction
from .timers import Timers

__all__ = [
    "FINAL",
    "Entity",
    "HubClosed",
    "HubDamaged",
    "HubError",
    "HubFull",
    "HubLocked",
    "HubTooNew",
    "HubUnavailable",
    "Instance",
    "InstanceExists",
    "InstanceNotFound",
    "InstanceState",
    "InvalidMessage",
    "Limits",
    "Status",
    "TaskHub",
    "WorkSession",
]

_RPC_THREADS = 256  # each waiting client and each connected worker holds one
_GRPC_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
]


class TaskHub(InstanceManagement, EntityManagement):
    """One open hub. Use `open`; then `connect` a worker, serve gRPC, and manage instances through its methods."""

    def __init__(
        self,
        store: Store,
        *,
        replaceable: Replaceable,
        visibility_s: float,
        max_deliveries: int,
        terminate_recursively: bool,
    ) -> None:
        super().__init__()
        self.store = store
        self.replaceable = replaceable
        self.terminate_recursively = terminate_recursively
        self.delivery = Delivery(store, max_deliveries=max_deliveries, visibility_s=visibility_s)
        self._timers = Timers(store)
        self._sessions: list[WorkSession] = []
        self._server: Any = None
        store.on_commit = self._on_commit
        self.delivery.load()
        self._timers.start()

    @classmethod
    def open(
        cls,
        path: Path | None,
        *,
        clock: Clock,
        replaceable: Replaceable = "NonRunning",
        visibility_s: float = 30,
        max_deliveries: int = 5,
        terminate_recursively: bool = True,
        synchronous: Synchronous = "NORMAL",
    ) -> TaskHub:
        """Open (or create) the hub file at `path`; None keeps it in memory. All unfinished work is ready at once.

        replaceable: whether the id of a finished instance may be started again ("NonRunning", as in Azure) or not.
        visibility_s: wall seconds after which work of a remote worker that went out of sight is given to another.
        max_deliveries: an activity, a turn or an entity's operation over which its worker died this often fails
        with a reason. synchronous: see Store.
        Raises HubLocked (says who has it), HubTooNew or HubDamaged; the file is then untouched.
        """
        store = Store(path, clock, synchronous)
        try:
            return cls(
                store,
                replaceable=replaceable,
                visibility_s=visibility_s,
                max_deliveries=max_deliveries,
                terminate_recursively=terminate_recursively,
            )
        except BaseException:
            store.close()  # or the file would be held for as long as somebody keeps the exception
            raise

    def connect(self, worker: str) -> WorkSession:
        """A worker in this process. What it has in hand is its own until it answers, abandons or closes."""
        return self.connect_remote(worker, Limits())

    def connect_remote(self, worker: str, limits: Limits) -> WorkSession:
        with self.store.lock:
            self.store.require_open()
            self._sessions = [session for session in self._sessions if not session.closed]
            session = WorkSession(self.delivery, worker, limits)
            self._sessions.append(session)
            return session

    def servicer(self) -> HubServicer:
        """The TaskHubSidecarService surface, for a gRPC server of the caller's."""
        return HubServicer(self)

    def serve_grpc(self, port: int = 0) -> int:
        """Serve gRPC on loopback; returns the port (a free one for 0)."""
        server = grpc.server(
            ThreadPoolExecutor(_RPC_THREADS, thread_name_prefix="hub-rpc"), options=_GRPC_OPTIONS
        )
        stubs.add_TaskHubSidecarServiceServicer_to_server(self.servicer(), server)
        bound: int = server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()
        self._server = server
        return bound

    def close(self) -> None:
        """Stop handing out work and close the file. What workers have in hand is visible when it is opened again."""
        with self.store.lock:
            sessions, self._sessions = self._sessions, []
        for session in sessions:
            session.close()
        self._timers.stop()
        if self._server:
            self._server.stop(grace=0).wait()
        self.store.close()
        self._wake_all_waiters()

    def __enter__(self) -> TaskHub:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _on_commit(self, tx: Transaction) -> None:
        self.delivery.committed(tx)
        self._timers.committed(tx)
        self._committed(tx)
