"""How long a lane of trials may go on, and how many of its jobs one history may follow."""

from __future__ import annotations

from datetime import datetime, timedelta

from shared.domain.lease import Lease
from shared.domain.retrain import TrialPlan, TrialsRequest
from shared.domain.retraining import Retraining

CHUNK = 20  # jobs followed by one history: a thousand trials are fifty children, and no history grows with their number
CHUNK_TIME = timedelta(hours=3)  # and fewer of long ones: looks make a history grow, too
JUDGING_SHARE = 0.2  # of limits.deadline that is kept for judging the models
JUDGING_MONEY = 0.1  # of the budget
LEAST_JUDGING = timedelta(minutes=15)
BOOT_AND_RELEASE = timedelta(minutes=30)


def longest(workload: Retraining, plan: TrialPlan) -> timedelta:
    """What the trials of one job may take."""
    return workload.trials.timeout * plan.per_job


def chunk_size(trials: TrialsRequest) -> int:
    """As many jobs as end within CHUNK_TIME if each takes its whole time, from a windowful up to CHUNK."""
    each = longest(trials.request.workload, trials.plan)
    return max(min(trials.window, CHUNK), min(CHUNK, int(trials.window * (CHUNK_TIME / each))))


def training_ends(began: datetime, trials: TrialsRequest, lease: Lease) -> datetime:
    """From when on no job may begin: the time for training is over, or the lane could spend more than its share.

    A share is what a lane's part of the jobs is of all; the lane counts as if it had paid its offer's price since it
    `began`. What a last job may take is kept back, of the time at most half.
    """
    limits, price = trials.request.workload.limits, lease.offer.usd_per_hour * lease.nodes
    each = longest(trials.request.workload, trials.plan)
    open_for = limits.deadline * (1 - JUDGING_SHARE)
    time_ends = began + max(open_for - each, open_for / 2)
    if limits.budget_usd is None or price <= 0:
        return time_ends
    share = (trials.stop - trials.start) / trials.plan.jobs
    hours = limits.budget_usd * (1 - JUDGING_MONEY) * share / price
    return min(time_ends, began + timedelta(hours=min(hours, 24 * 365)) - each - BOOT_AND_RELEASE / 2)


def judging_time(workload: Retraining) -> timedelta:
    return max(workload.limits.deadline * JUDGING_SHARE, LEAST_JUDGING)
