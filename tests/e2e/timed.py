"""What the timer scenarios are made of: declarations with slots on one day each, and ways to read back their fate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from shared.domain import names
from shared.domain.schedule import Slot
from tests.support.estate import Declaration, Estate, Ran, declaration, wait

START = datetime(2026, 3, 20, 9, tzinfo=UTC)
LOCAL = {"platform": "local"}
MINUTE = timedelta(minutes=1)


def on(day: int, times: str, **schedule: str) -> dict[str, str]:
    """Slots on one day of March 2026. `times`: the minute and hour fields of cron."""
    return {"cron": f"{times} {day} 3 *", **schedule}


def timed(name: str, schedule: dict[str, str], **changes: Any) -> Declaration:
    return declaration(name, schedule=schedule, compute=LOCAL, **changes)


SAME_INPUTS = {"prefix": "same-inputs/", "watermark": "none"}
DECLARATIONS = [
    timed("switched-on", on(20, "0 8")),
    timed("many-ticks", on(21, "0 10")),
    timed("asked-twice", on(21, "0 12")),
    timed("late-runs-once", on(22, "0,5,10 10")),
    timed("late-skips", on(22, "0,5,10 10", misfire="skip")),
    timed("late-for-long", on(22, "* 10-11")),
    timed("edited", on(30, "0 10")),
    timed("overlap-skips", on(23, "0,5,59 10", overlap="skip")),
    timed("overlap-queues", on(24, "0,5,10 10", overlap="queue", misfire="skip")),
    declaration("never-timed", compute=LOCAL),
    declaration("undisturbed", compute=LOCAL, input=SAME_INPUTS),
    declaration("killed", compute=LOCAL, input=SAME_INPUTS),
    declaration("killed-on-a-vm", input=SAME_INPUTS),
    timed("spring", {"cron": "30 2 29 3 *", "timeZone": "Europe/Paris"}),
    timed("autumn", {"cron": "30 2 25 10 *", "timeZone": "Europe/Paris"}),
]  # fmt: skip


def at_work(world: Estate) -> list[str]:
    _, answer = world.world.api("runs")
    return [run["id"] for run in answer["runs"] if run["state"] in ("Running", "Pending", "Suspended")]


def slots_run(world: Estate, workload: str) -> list[str]:
    """The slots of the workload's runs, in the order they were started."""
    _, answer = world.world.api("runs")
    ids = [run["id"] for run in reversed(answer["runs"]) if names.is_run_of(run["id"], workload)]
    return [run.removeprefix(f"score-{workload}-") for run in ids]


def starts(world: Estate, run: str) -> int:
    """How often the run began, by its own audit records."""
    entries = [world.read_json(world.state, b.name) for b in world.state.list_blobs(f"audit/{run}/")]
    return sum(entry["what"] == "run started" for entry in entries)


def record(world: Estate, workload: str) -> dict[str, Any]:
    found: dict[str, Any] = world.read_json(world.state, f"schedules/{workload}.json")
    return found


def considered(world: Estate, workload: str) -> datetime:
    return datetime.fromisoformat(record(world, workload)["considered"])


def at(day: int, hour: int, minute: int = 0, *, month: int = 3) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


def scheduled(workload: str, slot: datetime) -> Ran:
    slot_id = Slot(at=slot).id
    return Ran(id=names.score_run_id(workload, slot_id), slot=slot_id)


def finished(world: Estate, workload: str, slot: datetime) -> Ran:
    """The run of this slot, over."""
    run = scheduled(workload, slot)
    wait(lambda: slots_run(world, workload)[-1:] == [run.slot], f"{run.id} to be started")
    return world.finish(run)
