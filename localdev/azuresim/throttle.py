"""How often a client may ask: ARM's token buckets, on virtual time, and who asked again before it was told to.

Sources: learn.microsoft.com request-limits-and-throttling (reads 250, refill 25/s; writes and deletes 200, 10/s; per
subscription, region and principal; 15 times that over all principals), compute-throttling-limits (12 updates a VM,
4 a minute; 1,500 a minute per subscription and region).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from localdev.azuresim.errors import ArmError
from localdev.clock import Clock

_KIND = {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}
_LIMITS = {"reads": (250, 25.0), "writes": (200, 10.0), "deletes": (200, 10.0)}
_ALL_PRINCIPALS = 15
_VM_UPDATES = (12, 4 / 60)
_COMPUTE = (1500, 1500 / 60)
_FROZEN_RETRY_S = 0.05  # wall; while the clock stands still no virtual wait ever ends


@dataclass
class _Bucket:
    capacity: float
    refill: float  # tokens a second
    tokens: float
    at: float

    def take(self, at: float) -> float:
        """Take one token; gives how many seconds until one is there, 0 if it was taken."""
        self.tokens = min(self.capacity, self.tokens + max(0.0, at - self.at) * self.refill)
        self.at = at
        if self.tokens < 1:
            return (1 - self.tokens) / self.refill
        self.tokens -= 1
        return 0.0


class Throttle:
    def __init__(self) -> None:
        self._buckets: dict[tuple[str, ...], _Bucket] = {}

    def admit(self, method: str, subscription: str, client: str, at: float) -> dict[str, str]:
        """Headers that say what is left. Raises a 429 with Retry-After when a bucket is empty."""
        kind = _KIND.get(method, "writes")
        capacity, refill = _LIMITS[kind]
        own = self._bucket((subscription, client, kind), capacity, refill, at)
        shared = self._bucket((subscription, kind), capacity * _ALL_PRINCIPALS, refill * _ALL_PRINCIPALS, at)
        if wait_s := max(own.take(at), shared.take(at)):
            raise _throttled(method, kind, subscription, client, wait_s)
        return {
            f"x-ms-ratelimit-remaining-subscription-{kind}": str(int(own.tokens)),
            f"x-ms-ratelimit-remaining-subscription-global-{kind}": str(int(shared.tokens)),
        }

    def admit_compute(self, subscription: str, location: str, vm: str, at: float) -> dict[str, str]:
        """The resource provider's own buckets; `vm` is the id of the machine that is changed, or empty."""
        left = {"PutVM3Min": self._bucket((subscription, location, "compute"), *_COMPUTE, at)}
        if vm:
            left["UpdateVM3Min"] = self._bucket((vm.casefold(), "update"), *_VM_UPDATES, at)
        for name, bucket in left.items():
            if wait_s := bucket.take(at):
                raise _compute_throttled(name, bucket, wait_s)
        remaining = ",".join(
            f"Microsoft.Compute/{name};{int(bucket.tokens)}" for name, bucket in left.items()
        )
        return {"x-ms-ratelimit-remaining-resource": remaining}

    def _bucket(self, key: tuple[str, ...], capacity: float, refill: float, at: float) -> _Bucket:
        return self._buckets.setdefault(key, _Bucket(capacity, refill, capacity, at))


class Advice:
    """What clients were told about when to come back, and whether they kept to it.

    A client may live on the wall clock (an SDK's poller sleeps) or on the simulated one (a durable timer), so both
    are told: `Retry-After` in wall seconds, rounded up, `retry-after-ms` in virtual milliseconds. They are equal at
    speed 1, and mean the same moment at any speed. Too early is who comes before that moment on both clocks.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[tuple[str, str], tuple[float, float]] = {}

    def headers(self, virtual_s: float) -> dict[str, str]:
        # At least a second: azure-mgmt-compute reads an integer, and azure-core takes 0 for no advice (30 s then).
        wall_s = max(1, math.ceil(self._wall(virtual_s)))
        return {"Retry-After": str(wall_s), "retry-after-ms": str(round(virtual_s * 1000))}

    def give(self, client: str, targets: list[str], virtual_s: float, wall_now: float) -> None:
        due = (self._clock.time() + virtual_s, wall_now + self._wall(virtual_s))
        for target in targets:
            self._until[(client, target.casefold())] = due

    def take_back(self, client: str, targets: list[str]) -> None:
        for target in targets:
            self._until.pop((client, target.casefold()), None)

    def seconds_early(self, client: str, target: str, wall_now: float) -> float:
        """Virtual seconds `client` came too early; 0 if it did not. The same advice is held against it once."""
        virtual_due, wall_due = self._until.pop((client, target.casefold()), (0.0, 0.0))
        early = virtual_due - self._clock.time()
        # What a clock, a network and a millisecond's rounding make of a punctual client is not held against it.
        return early if early > 0.01 and wall_due - wall_now > 0.01 else 0.0

    def _wall(self, virtual_s: float) -> float:
        speed = self._clock.speed
        return virtual_s / speed if speed > 0 else _FROZEN_RETRY_S


def retry_after(headers: Mapping[str, str]) -> float | None:
    for name, value in headers.items():
        if name.casefold() == "retry-after":
            return float(value)
    return None


def _throttled(method: str, kind: str, subscription: str, client: str, wait_s: float) -> ArmError:
    verb = {"reads": "read", "writes": "write", "deletes": "delete"}[kind]
    seconds = math.ceil(wait_s)
    return ArmError(
        429,
        "SubscriptionRequestsThrottled",
        f"Number of '{verb}' requests for subscription '{subscription}' actor '{client}' exceeded. "
        f"Please try again after '{seconds}' seconds.",
        headers={"Retry-After": str(seconds), f"x-ms-ratelimit-remaining-subscription-{kind}": "0"},
    )


def _compute_throttled(name: str, bucket: _Bucket, wait_s: float) -> ArmError:
    measured = f'{{"operationGroup":"{name}","allowedRequestCount":{int(bucket.capacity)}}}'
    return ArmError(
        429,
        "OperationNotAllowed",
        "The server rejected the request because too many requests have been received for this subscription.",
        details=[{"code": "TooManyRequests", "target": name, "message": measured}],
        headers={
            "Retry-After": str(math.ceil(wait_s)),
            "x-ms-ratelimit-remaining-resource": f"Microsoft.Compute/{name};0",
        },
    )
