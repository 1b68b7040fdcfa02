"""Calling functions as Azure's worker calls them: same decoding, context, thread pool and return checks.

User code has an event loop and a thread pool of its own, as it has a process of its own on Azure: a function that
blocks its loop stalls other functions, never the host.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import math
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from azure_functions_runtime import (
    get_threadpool_executor,
    invocation_id_cv,
    native_invocation,
    start_threadpool_executor,
)
from azure_functions_runtime.bindings.datumdef import Datum
from azure_functions_runtime.utils.executor import execute_async, run_sync_func

from localdev.runner.failures import Failure
from localdev.runner.loader import Function
from localdev.runner.log import Stopwatch, logger

# Raised by a function, these would end its worker process on Azure, and the host would report a failed invocation.
_ENDS_A_PROCESS = (SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError)


@dataclass(frozen=True)
class Result:
    """What an invocation came to: the encoded return value and outputs, or the failure."""

    invocation_id: str
    value: Any = None  # Datum | None
    outputs: Mapping[str, Any] = field(default_factory=dict)
    failure: Failure | None = None

    @property
    def ok(self) -> bool:
        return self.failure is None


class Invoker:
    """Runs functions on the worker loop; `invoke` may be awaited from any loop."""

    def __init__(self, inputs: Mapping[str, Any], timeout_s: float = math.inf) -> None:
        """`inputs`: values of non-trigger input bindings by binding type (the durable client's is a string).

        `timeout_s`: what host.json allows a function; longer is only reported, as a thread cannot be killed.
        """
        self._inputs = dict(inputs)
        self._timeout_s = timeout_s
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="functions-worker", daemon=True)
        self._running = 0
        self._count = threading.Lock()

    def start(self) -> None:
        start_threadpool_executor()
        self._thread.start()

    def stop(self) -> None:
        """Let go of the loop and the threads. A thread that is still in user code is left to end with the process."""
        pool = get_threadpool_executor()
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=2)
        if not self._thread.is_alive():
            self._loop.close()

    @property
    def running(self) -> int:
        """Invocations under way, whatever triggered them."""
        return self._running

    def submit(self, function: Function, trigger: Any, reason: str) -> concurrent.futures.Future[Result]:
        """Start the function with `trigger` (a Datum) as its trigger's value; the future never raises for user code."""
        return asyncio.run_coroutine_threadsafe(self._invoke(function, trigger, reason), self._loop)

    async def invoke(self, function: Function, trigger: Any, reason: str) -> Result:
        return await asyncio.wrap_future(self.submit(function, trigger, reason))

    async def _invoke(self, function: Function, trigger: Any, reason: str) -> Result:
        invocation_id, watch = str(uuid.uuid4()), Stopwatch()
        with self._count:
            self._running += 1
        overdue = self._report_overdue(function, invocation_id)
        try:
            result = await self._execute(function, invocation_id, trigger)
        except (Exception, *_ENDS_A_PROCESS) as error:  # noqa: BLE001 whatever it is, it failed this invocation
            result = Result(invocation_id, failure=Failure.of(error))
        finally:
            if overdue is not None:
                overdue.cancel()
            with self._count:
                self._running -= 1
        _report(function, result, reason, watch.ms())
        return result

    def _report_overdue(self, function: Function, invocation_id: str) -> asyncio.TimerHandle | None:
        if math.isinf(self._timeout_s):
            return None
        text = "%s has run longer than functionTimeout (%.0f s): Azure would end its worker now (Id=%s)"
        return self._loop.call_later(
            self._timeout_s, logger.warning, text, function.name, self._timeout_s, invocation_id
        )

    async def _execute(self, function: Function, invocation_id: str, trigger: Any) -> Result:
        info = function.info
        inputs = [(str(function.trigger["name"]), trigger), *self._other_inputs(function)]
        args = native_invocation._decode_inputs(info, inputs, {})
        context = native_invocation._prepare_context(info, invocation_id, args)
        if info.is_async:
            context.thread_local_storage.invocation_id = invocation_id
            token = invocation_id_cv.set(invocation_id)
            try:
                returned = await execute_async(info.func, args)
            finally:
                invocation_id_cv.reset(token)
        else:
            pool = get_threadpool_executor()
            returned = await self._loop.run_in_executor(
                pool, run_sync_func, invocation_id, context, info.func, args
            )
        native_invocation._check_return(info, returned)
        outputs = dict(native_invocation._collect_output(info, args))
        return Result(invocation_id, native_invocation._encode_return(info, returned), outputs)

    def _other_inputs(self, function: Function) -> list[tuple[str, Any]]:
        known = function.info.input_types
        wanted = [b for b in function.bindings if b["name"] in known]
        for binding in wanted:
            if binding["type"] not in self._inputs:
                raise NotImplementedError(
                    f"input binding {binding['name']!r} of type {binding['type']} is not offered by the local runner"
                )
        return [(str(b["name"]), Datum(self._inputs[b["type"]], "string")) for b in wanted]


def _report(function: Function, result: Result, reason: str, duration_ms: int) -> None:
    outcome = "Succeeded" if result.ok else "Failed"
    line = (
        f"{function.name} ({outcome}, Reason='{reason}', Id={result.invocation_id}, Duration={duration_ms}ms)"
    )
    if result.failure is None:
        logger.info("Executed %s", line)
    else:
        logger.error("Executed %s %s\n%s", line, result.failure.text, result.failure.stack.rstrip())
