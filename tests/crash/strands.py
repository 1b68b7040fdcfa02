"""Work that can be stopped between two requests: a thread of which one at most runs, and only when it is told to.

A strand hands the baton back at each request it makes, so that the order of everything is the machine's choice, and a
strand can be left standing for ever (its process died) or for long (its process was out of sight).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any


class Killed(BaseException):
    """The process that this strand belongs to was killed. Nothing may catch it, as nothing catches SIGKILL."""


class Strand:
    """`work` runs from one `pause` to the next, each time `resume` is called."""

    current: Strand | None = None

    def __init__(self, name: str, work: Callable[[], Any]) -> None:
        self.name = name
        self.wake = 0.0  # the machine's: when to go on
        self.hangs = False  # the machine's: it never goes on, and its process is ended then
        self.over = False
        self.dying = False
        self.result: Any = None
        self.error: BaseException | None = None
        self.token: Any = None  # the machine's: what it is for
        self._work = work
        self._go, self._back = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._back.acquire()
        self._thread: threading.Thread | None = None

    def resume(self) -> None:
        """Run until the next pause or the end. Nests: a strand may end another one."""
        before, Strand.current = Strand.current, self
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
            self._thread.start()
        self._go.release()
        self._back.acquire()
        Strand.current = before

    def pause(self) -> None:
        """Called by the work, on whichever thread it uses: give the baton back. Raises Killed."""
        self._back.release()
        self._go.acquire()
        if self.dying:
            raise Killed(self.name)

    def kill(self) -> None:
        """End it where it stands. What it still tries on its way out is refused by the wire."""
        if self.over:
            return
        self.dying = True
        if self._thread is None:
            self.over = True
            return
        while not self.over:
            self.resume()

    def _run(self) -> None:
        self._go.acquire()
        try:
            if not self.dying:
                self.result = self._work()
        except BaseException as error:  # noqa: BLE001  # whatever it was, the machine decides what it means
            self.error = error
        finally:
            self.over = True
            self._back.release()


class OneAfterAnother(Executor):
    """A pool without threads: a strand's requests are made one at a time, in one order."""

    def __init__(self, _workers: int) -> None: ...

    def submit[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # a future holds whatever it was
            future.set_exception(error)
        return future
