"""Timer triggers on the virtual clock, with the behaviour of the WebJobs timer extension (TimerListener).

A timer never overlaps itself. Occurrences that pass while it runs, while the clock jumps or while the host is down are
made good by one invocation; only the one found at start-up carries IsPastDue. ScheduleStatus.Next is the occurrence that
is being fired, Last the moment of the previous invocation (not of its occurrence). Schedules that fire more than once
a minute keep no status: they get ScheduleStatus null and are never past due.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from azure_functions_runtime.bindings.datumdef import Datum

from localdev.clock import Clock
from localdev.runner.config import resolve_settings
from localdev.runner.errors import AppError
from localdev.runner.invoker import Invoker, Result
from localdev.runner.loader import Function
from localdev.runner.log import logger
from localdev.runner.ncrontab import Interval, Schedule, ScheduleError, parse_schedule

NEVER = datetime.min.replace(tzinfo=UTC)
_LONGEST_SLEEP_S = 3600.0


@dataclass(frozen=True)
class Status:
    """What is known of a timer between invocations."""

    last: datetime
    next: datetime
    last_updated: datetime

    def to_json(self, zone: tzinfo = UTC) -> dict[str, str]:
        return {
            "Last": _iso(self.last, zone),
            "Next": _iso(self.next, zone),
            "LastUpdated": _iso(self.last_updated, zone),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, str]) -> Status:
        return cls(*(datetime.fromisoformat(record[name]) for name in ("Last", "Next", "LastUpdated")))


def _iso(moment: datetime, zone: tzinfo) -> str:
    """As Newtonsoft writes a local DateTime: fraction without trailing zeros, numeric offset."""
    local = moment if moment == NEVER else moment.astimezone(zone)
    text = local.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    fraction = f".{local.microsecond:06d}".rstrip("0") if local.microsecond else ""
    offset = local.strftime("%z")
    return f"{text}{fraction}{offset[:3]}:{offset[3:5]}"


class StatusStore:
    """Schedule statuses by function, in one JSON file beside the task hub; in memory without a path."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._records: dict[str, dict[str, str]] = {}
        if path is not None and path.exists():
            self._records = json.loads(path.read_text())

    def get(self, name: str) -> Status | None:
        record = self._records.get(name)
        return Status.from_json(record) if record else None

    def put(self, name: str, status: Status) -> None:
        self._records[name] = status.to_json()
        if self._path is None:
            return
        fresh = self._path.with_suffix(self._path.suffix + ".tmp")
        fresh.write_text(json.dumps(self._records, indent=1))
        os.replace(fresh, self._path)


class Timer:
    """One timer trigger: its schedule, its status and whether it is running."""

    def __init__(
        self, function: Function, schedule: Schedule, zone: tzinfo, clock: Clock, store: StatusStore
    ) -> None:
        self.function, self.running = function, False
        self.resting = False  # between two attempts of a retry policy
        self._schedule, self._zone, self._clock = schedule, zone, clock
        now = clock.now()
        monitored = function.trigger.get("useMonitor") is not False and not _fires_within_a_minute(
            schedule, now
        )
        self._store = store if monitored else None
        self._status = Status(NEVER, schedule.next_after(now), NEVER)
        self._past_due = False
        if self._store is not None:
            self._recall(self._store, now)
        self._at_start = self._past_due or bool(function.trigger.get("runOnStartup"))

    @property
    def due(self) -> datetime:
        return NEVER if self._at_start else self._status.next

    def payload(self, *, past_due: bool = False) -> str:
        """The trigger's JSON, as the host sends it."""
        status = self._status.to_json(self._zone) if self._store is not None else None
        adjust = not isinstance(self._schedule, Interval)
        return json.dumps(
            {"Schedule": {"AdjustForDST": adjust}, "ScheduleStatus": status, "IsPastDue": past_due},
            separators=(",", ":"),
        )

    async def fire(self, invoker: Invoker) -> None:
        """Invoke the function for the occurrence that is due, then work out the next one."""
        began, past_due, early = self._clock.now(), self._past_due, self._at_start
        self._past_due = self._at_start = False
        await self._invoke(invoker, past_due)
        last = began if early else max(began, self._status.next)
        self._status = Status(last, self._schedule.next_after(last), last)
        if self._store is not None:
            self._store.put(self.function.name, self._status)

    async def _invoke(self, invoker: Invoker, past_due: bool) -> Result:
        """With the function's retry policy: the same occurrence again after a failure, as often as it allows."""
        trigger, attempt = Datum(self.payload(past_due=past_due), "json"), 0
        while True:
            reason = "Timer is past due" if past_due else "Timer fired"
            result = await invoker.invoke(self.function, trigger, reason)
            policy = self.function.retry
            if result.ok or policy is None or attempt == policy.max_retries:
                return result
            wait = policy.delay * 2**attempt if policy.exponential else policy.delay
            attempt += 1
            self.resting = True
            await sleep_until(self._clock, self._clock.now() + min(wait, policy.longest))
            self.resting = False

    def _recall(self, store: StatusStore, now: datetime) -> None:
        """ScheduleMonitor.CheckPastDueAsync: a changed schedule starts afresh instead of being past due."""
        status = store.get(self.function.name)
        if status is None:
            store.put(self.function.name, Status(NEVER, self._status.next, now))
            return
        basis = status.last if status.last > NEVER else status.last_updated
        expected = self._schedule.next_after(basis)
        if status.next != expected:
            if now > expected:
                expected, basis = self._schedule.next_after(now), now
            status = Status(NEVER, expected, basis)
            store.put(self.function.name, status)
        self._status, self._past_due = status, now > status.next


def _fires_within_a_minute(schedule: Schedule, now: datetime) -> bool:
    if isinstance(schedule, Interval):
        return schedule.step < timedelta(minutes=1)
    return schedule.next_after(schedule.next_after(now)) < now + timedelta(minutes=1)


class TimerScheduler:
    """Fires every timer of an app when the clock reaches it, however the clock gets there."""

    def __init__(self, timers: list[Timer], clock: Clock, invoker: Invoker) -> None:
        self._timers, self._clock, self._invoker = timers, clock, invoker
        self._firing: dict[asyncio.Task[None], Timer] = {}
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled; invocations under way are not cancelled with it (see `drain`)."""
        while True:
            now = self._clock.now()
            for timer in self._timers:
                if not timer.running and timer.due <= now:
                    self._fire(timer)
            self._changed.clear()
            idle = [timer.due for timer in self._timers if not timer.running]
            wait = (min(idle) - now).total_seconds() if idle else _LONGEST_SLEEP_S
            await _sleep(self._clock, min(wait, _LONGEST_SLEEP_S), self._changed)

    async def drain(self, grace_s: float) -> None:
        """Let invocations end. What is given up is not recorded, so it is past due at the next start."""
        for task, timer in self._firing.items():
            if timer.resting:
                task.cancel()
        if self._firing:
            _, late = await asyncio.wait(list(self._firing), timeout=grace_s)
            for task in late:
                task.cancel()

    def find(self, name: str) -> Timer | None:
        return next((timer for timer in self._timers if timer.function.name == name), None)

    def _fire(self, timer: Timer) -> None:
        timer.running = True
        task = asyncio.create_task(timer.fire(self._invoker))
        self._firing[task] = timer

        def ended(done: asyncio.Task[None]) -> None:
            timer.running = False
            self._firing.pop(done, None)
            self._changed.set()
            if not done.cancelled() and (error := done.exception()) is not None:
                logger.error("timer %s stopped counting: %r", timer.function.name, error)

        task.add_done_callback(ended)


async def sleep_until(clock: Clock, moment: datetime) -> None:
    while (left := (moment - clock.now()).total_seconds()) > 0:
        await _sleep(clock, left, asyncio.Event())


async def _sleep(clock: Clock, virtual_seconds: float, wake: asyncio.Event) -> None:
    """As long as the clock says now; short on a shared clock, which another process may move."""
    try:
        await asyncio.wait_for(wake.wait(), max(clock.wall_seconds(virtual_seconds), 0.001))
    except TimeoutError:
        return


def build_timers(
    functions: list[Function], environment: Mapping[str, str], clock: Clock, store: StatusStore
) -> list[Timer]:
    """One per timer trigger. AppError names the function whose schedule cannot be read."""
    zone = time_zone(environment)
    timers = []
    for function in functions:
        if function.trigger_type != "timerTrigger":
            continue
        where = f"function '{function.name}': schedule"
        expression = resolve_settings(str(function.trigger["schedule"]), environment, where)
        try:
            timers.append(Timer(function, parse_schedule(expression, zone), zone, clock, store))
        except ScheduleError as error:
            raise AppError(f"{where} {error}") from error
    return timers


def time_zone(environment: Mapping[str, str]) -> tzinfo:
    name = environment.get("WEBSITE_TIME_ZONE", "")
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise AppError(f"WEBSITE_TIME_ZONE={name!r} is not an IANA time zone") from error
