"""The Functions host of a world, as an operator with the master key sees it."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from datetime import datetime, timedelta
from typing import Any

from tests.support.estate import Estate, wait


class Host:
    def __init__(self, estate: Estate) -> None:
        self._world = estate.world
        self._key: str = json.loads((self._world.state / "keys.json").read_text())["masterKey"]

    def tick(self) -> None:
        """Fire the app's timer by hand. It stands for the occurrence to come, and its outcome is in the log."""
        self._send("POST", "admin/functions/tick", {})

    def steer(self, instance: str, verb: str) -> None:
        """`suspend` or `resume` an instance."""
        self._send("POST", f"runtime/webhooks/durabletask/instances/{instance}/{verb}")

    def purge(self, instance: str) -> None:
        self._send("DELETE", f"runtime/webhooks/durabletask/instances/{instance}")

    def instance(self, instance: str) -> dict[str, Any] | None:
        """What the task hub says of an instance; None if it knows none of that id."""
        try:
            found: dict[str, Any] = self._send("GET", f"runtime/webhooks/durabletask/instances/{instance}")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise
        return found

    def state(self, instance: str) -> str:
        found = self.instance(instance)
        return str(found["runtimeStatus"]) if found else "Unknown"

    def next_tick(self) -> datetime:
        """The occurrence that the timer will fire for next."""
        status = json.loads((self._world.state / "hub.sqlite.timers").read_text())["tick"]
        return datetime.fromisoformat(status["Next"])

    def ticked(self, until: datetime) -> None:
        """Wait until the timer has fired for every minute up to `until`, and what it fired has ended."""
        wait(lambda: self.next_tick() > until, f"the tick of {until}")

    def ticks(self) -> list[str]:
        """How each tick so far ended: Succeeded or Failed."""
        return re.findall(r"Executed tick \((\w+)", (self._world.state / "app.log").read_text())

    def approach(self, moment: datetime, by: timedelta = timedelta(seconds=20)) -> None:
        """Stop the clock `by` before `moment`, after all ticks up to there."""
        clock = self._world.clock
        clock.set_speed(0)
        assert clock.now() < moment - by, f"it is {clock.now()} already"
        clock.advance(moment - by - clock.now())
        self.ticked(moment - by)

    def tick_at(self, moment: datetime) -> None:
        """Let the tick of `moment` fire, and stop the clock shortly after it."""
        self.approach(moment)
        self._world.clock.advance(timedelta(seconds=30))
        self.ticked(moment)

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(f"{self._world.url}/{path}", method=method)
        request.add_header("x-functions-key", self._key)
        data = None if body is None else json.dumps(body).encode()
        if data:
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, data=data, timeout=60) as response:
            text = response.read()
        return json.loads(text) if text else None
