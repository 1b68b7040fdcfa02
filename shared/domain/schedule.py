"""When a workload is due. Pure: time comes in as arguments.

A slot is an instant; a workload's slots are those of its schedule. `due_slots` takes a stretch of time and says of each
slot in it whether it runs or is skipped, so stretches that join up decide about each slot exactly once.

Clock changes, for cron: a time that the clock skips in spring runs once, at the first instant after the gap. A time that
comes twice in autumn runs once, the first time; but "every so often" (a star in minute or hour) runs through both hours,
evenly. `every` counts elapsed time and knows no zone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from shared.domain.cron import is_recurring, wall_after
from shared.domain.wire import Wire
from shared.domain.workload import Schedule

MISFIRE_TOLERANCE = timedelta(minutes=5)  # with `misfire: skip`, how late a slot may still be run
MAX_LISTED = 100
MAX_QUEUED = 24  # slots that wait for the run before them
SKIPPED_KEPT = 2 * MAX_LISTED
_SECOND = timedelta(seconds=1)
_STRIDE = timedelta(days=5)


class Slot(Wire):
    """One instant at which a workload is due."""

    at: datetime

    @property
    def id(self) -> str:
        """`20130301T020000Z`, in UTC: sorts by time, and an hour that comes twice has two ids."""
        return self.at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


class DueSlots(Wire):
    """What becomes of the slots of a stretch of time, oldest first.

    After a long outage of a busy schedule only the newest skipped slots are listed: all slots up to and including
    `unlisted_until` were skipped too.
    """

    run: tuple[Slot, ...] = ()
    skipped: tuple[Slot, ...] = ()
    unlisted_until: datetime | None = None


class Stretch(Wire):
    """Every slot after `after` up to and including `until`."""

    after: datetime
    until: datetime


class ScheduleRecord(Wire):
    """How far a workload's slots were decided about: each up to `considered` was started, waits, or was skipped.

    `skipped` are the newest of them by id; what a long outage skipped without listing it is in `unlisted`. `rhythm` is
    the schedule that all this is about; `last_run` the run that a timer started last.
    """

    first_seen: datetime
    considered: datetime
    rhythm: str = ""
    queued: tuple[Slot, ...] = ()
    skipped: tuple[str, ...] = ()
    unlisted: tuple[Stretch, ...] = ()
    last_run: str | None = None

    def moved(
        self,
        *,
        considered: datetime,
        last_run: str | None,
        queued: Sequence[Slot],
        skipped: Sequence[Slot],
        unlisted_until: datetime | None,
    ) -> ScheduleRecord:
        """The record after the slots up to `considered` were decided about. The oldest of too many queued are skipped."""
        dropped = queued[: max(0, len(queued) - MAX_QUEUED)]
        fresh = tuple(sorted(slot.id for slot in (*skipped, *dropped)))
        missed = (Stretch(after=self.considered, until=unlisted_until),) if unlisted_until else ()
        return self.model_copy(
            update={
                "considered": considered,
                "last_run": last_run,
                "queued": tuple(queued[len(dropped) :]),
                "skipped": (*self.skipped, *fresh)[-SKIPPED_KEPT:],
                "unlisted": (*self.unlisted, *missed)[-SKIPPED_KEPT:],
            }
        )


def due_slots(schedule: Schedule, since: datetime, now: datetime) -> DueSlots:
    """The slots after `since` up to and including `now`, each to be run or skipped as `schedule.misfire` says.

    run_once: the newest runs, those before it are skipped. skip: what is later than MISFIRE_TOLERANCE is skipped.
    The work is bounded however long the stretch is.
    """
    since, now = since.astimezone(UTC), now.astimezone(UTC)  # sums of times in a zone are not elapsed time
    due: list[Slot] = []
    at = _previous(schedule, since, now + timedelta.resolution)
    while at is not None and len(due) <= MAX_LISTED:
        due.append(Slot(at=at))
        at = _previous(schedule, since, at)
    due.reverse()
    if schedule.misfire == "run_once":
        run, skipped = due[-1:], due[:-1]
    else:
        run = [slot for slot in due if now - slot.at <= MISFIRE_TOLERANCE]
        skipped = due[: len(due) - len(run)]
    return DueSlots(run=tuple(run), skipped=tuple(skipped), unlisted_until=at)


def preview(schedule: Schedule, after: datetime, n: int) -> tuple[Slot, ...]:
    """The next `n` slots after `after`."""
    slots: list[Slot] = []
    while len(slots) < n:
        slot = next_slot(schedule, slots[-1].at if slots else after)
        if slot is None:
            break
        slots.append(slot)
    return tuple(slots)


def next_slot(schedule: Schedule, after: datetime) -> Slot | None:
    """The first slot after `after`, or None if none comes any more."""
    at = _next(schedule, after.astimezone(UTC))
    return Slot(at=at) if at else None


def is_slot(schedule: Schedule, slot: Slot) -> bool:
    return next_slot(schedule, slot.at - timedelta.resolution) == slot


def _next(schedule: Schedule, after: datetime) -> datetime | None:
    if schedule.every is not None and schedule.anchor is not None:
        passed = (after - schedule.anchor) // schedule.every
        return schedule.anchor + max(passed + 1, 0) * schedule.every
    if schedule.cron is not None:
        return _next_cron(schedule.cron, ZoneInfo(schedule.time_zone), after)
    return None


def _previous(schedule: Schedule, since: datetime, before: datetime) -> datetime | None:
    """The last slot after `since` and before `before`, found with `_next` alone, in steps that double and halve."""
    reach = timedelta(minutes=1)
    while True:
        low = max(since, before - min(reach, before - since))
        found = _next(schedule, low)
        if found is not None and found < before:
            break
        if low == since:
            return None
        reach *= 2
    high = before
    while high - found > _SECOND:  # slots are whole seconds
        middle = found + (high - found) / 2
        later = _next(schedule, middle)
        if later is not None and later < before:
            found = later
        else:
            high = middle
    return found


def _next_cron(text: str, zone: ZoneInfo, after: datetime) -> datetime | None:
    """The first instant after `after` (UTC) at which the wall clocks of `zone` show a matching time.

    Goes from one change of the offset from UTC to the next: between two changes the wall clock is plain arithmetic.
    """
    after = after.replace(microsecond=0)
    offset = _offset(zone, after)
    wall = _wall(after, offset)
    while (match := wall_after(text, wall)) is not None:
        instant = match.replace(tzinfo=UTC) - offset
        change = _first_change(zone, after, instant)
        if change is None:
            if is_recurring(text) or not instant.astimezone(zone).fold:
                return instant
            wall = match  # the clock shows this time for the second time
            continue
        after, offset = change, _offset(zone, change)
        wall = _wall(after, offset) - _SECOND
        if match <= wall:
            return change  # the clock jumps over this time
    return None


def _offset(zone: ZoneInfo, instant: datetime) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta(0)


def _wall(instant: datetime, offset: timedelta) -> datetime:
    return (instant + offset).replace(tzinfo=None)


def _first_change(zone: ZoneInfo, after: datetime, until: datetime) -> datetime | None:
    """The first instant after `after` up to `until` that has another offset from UTC than `after`, to the second.

    Looks every 5 days: the shortest-lived change of this century lasted a week (Brazil, October 2000).
    """
    offset = _offset(zone, after)
    low = after
    while low < until:
        high = min(low + _STRIDE, until)
        if _offset(zone, high) != offset:
            return _bisect_change(zone, low, high)
        low = high
    return None


def _bisect_change(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """The first whole second in (low, high] with the offset that `high` has. Both are whole seconds."""
    offset = _offset(zone, low)
    while high - low > _SECOND:
        middle = low + (high - low) // (2 * _SECOND) * _SECOND
        if _offset(zone, middle) == offset:
            low = middle
        else:
            high = middle
    return high
