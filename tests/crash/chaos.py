"""A seed's own idea of a bad night: processes that die or stall, requests and answers that are lost, Azure's faults.

Every decision is a hash of the seed and of what it is about (a point's label and how often it was reached), not a draw
from one stream: two runs of a seed agree on each point that both reach, whatever came between.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tests.crash.plans import Plan, Verdict

if TYPE_CHECKING:
    from tests.crash.machine import Machine
    from tests.crash.points import Point
    from tests.crash.scenario import Scenario

# Azure's faults that a night survives or fails cleanly, by preset, for the n-th request they meet.
_PRESETS = (
    "arm-throttled", "conflict", "operation-preempted", "delete-throttled", "nic-left-behind", "lost-response",
    "allocation-failed", "allocation-failed-later", "sku-not-available", "spot-evicted", "vm-vanishes", "slow",
    "boot-never-ready", "script-fails", "script-hangs", "another-operation-in-progress", "token-expired",
    "network-locked", "os-provisioning-timed-out", "read-after-write", "run-command-stuck", "quota-family",
)  # fmt: skip
_LATENCIES_S = (0.0, 0.0, 0.02, 0.05, 0.3, 2.0, 12.0)
_STALLS_S = (40.0, 90.0, 300.0, 1500.0, 4000.0)
_MOST_FAULTS = 8
MOST_CRASHES = 6
MOST_LOST = 12
MOST_STALLS = 4


class Chaos(Plan):
    """Three to ten faults at once, of every kind, decided by `seed`."""

    def __init__(self, seed: int) -> None:
        self.name = f"seed {seed}"
        self._seed = seed
        self._seen: Counter[str] = Counter()
        self._crashes = self._lost = self._stalls = 0
        self._crash_rate = (0.0, 0.004, 0.01, 0.02)[self._below(4, "crash rate")]
        self._loss_rate = (0.0, 0.002, 0.01, 0.03)[self._below(4, "loss rate")]
        self._agent_rate = (0.0, 0.01, 0.04)[self._below(3, "agent rate")]
        self._jitter = self._below(3, "jitter")
        self._stall_rate = (0.0, 0.0, 0.005, 0.02)[self._below(4, "stall rate")]

    def faults(self, scenario: Scenario) -> list[dict[str, Any]]:
        """Faults to arm in the simulated Azure."""
        presets = scenario.presets or _PRESETS
        return [self._fault(presets, n) for n in range(self._below(_MOST_FAULTS, "faults"))]

    def _fault(self, presets: Sequence[str], n: int) -> dict[str, Any]:
        preset = presets[self._below(len(presets), f"preset {n}")]
        if preset == "read-after-write":  # Azure's reads lag right after a write, not an hour later
            return {"preset": preset, "nth": 2}
        wide = self._below(4, f"wide {n}") == 0
        return {
            "preset": preset,
            "nth": 1 + self._below(3, f"nth {n}"),
            "times": 1 + self._below(3, f"times {n}"),
            **({"operation": "Microsoft.Compute/virtualMachines/*"} if wide else {}),
        }

    def at(self, machine: Machine, point: Point) -> Verdict:
        if point.kind == "agent":
            if self._agent_dies(point):
                return (Verdict.WORKER_DIES, Verdict.AGENT_DIES, Verdict.MACHINE_LOST)[
                    self._below(3, f"how {point.label}")
                ]
            return Verdict.GO_ON
        if self._crashes < MOST_CRASHES and self._happens(self._crash_rate, "die", point.label):
            self._crashes += 1
            return Verdict.DIE
        return Verdict.GO_ON

    def latency(self, machine: Machine, strand: str, usual_s: float) -> float:
        if self._stalls < MOST_STALLS and self._happens(self._stall_rate, "stall", strand):
            self._stalls += 1
            return _STALLS_S[self._below(len(_STALLS_S), f"stall {strand} {self._stalls}")]
        if self._jitter == 0:
            return usual_s
        top = len(_LATENCIES_S) if self._jitter == 2 else len(_LATENCIES_S) - 2
        return usual_s + _LATENCIES_S[self._below(top, self._again("latency", strand))]

    def drops_request(self, machine: Machine, strand: str, label: str) -> bool:
        return self._loses("request", strand, label)

    def drops_answer(self, machine: Machine, strand: str, label: str) -> bool:
        return self._loses("answer", strand, label)

    def trigger_failed(self, name: str, error: Exception) -> None:
        """A timer whose storage fails has failed; the next one is a minute away."""

    def _agent_dies(self, point: Point) -> bool:
        return self._crashes < MOST_CRASHES and self._happens(self._agent_rate, "agent", point.label)

    def _loses(self, what: str, strand: str, label: str) -> bool:
        if self._lost >= MOST_LOST or not self._happens(self._loss_rate, what, f"{strand} | {label}"):
            return False
        self._lost += 1
        return True

    def _happens(self, rate: float, what: str, label: str) -> bool:
        return rate > 0 and self._below(1_000_000, self._again(what, label)) < rate * 1_000_000

    def _again(self, what: str, label: str) -> str:
        """A name of this occasion: the n-th of its kind."""
        key = f"{what} {label}"
        self._seen[key] += 1
        return f"{key} {self._seen[key]}"

    def _below(self, limit: int, what: str) -> int:
        digest = hashlib.blake2b(f"{self._seed}|{what}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) % limit
