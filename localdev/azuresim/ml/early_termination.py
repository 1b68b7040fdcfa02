"""Which trial of a sweep is to be cancelled, by the metric it has reported so far. Pure.

Rules: learn.microsoft.com machine-learning/how-to-tune-hyperparameters ("Early termination"): a policy is applied at each
multiple of `evaluationInterval` reports that is not below `delayEvaluation`. Every report of the primary metric is one
interval. A rival counts with what it had reported by then, to truncation selection only if it came as far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from localdev.azuresim.ml.common import user_error

_KNOWN = {"policyType", "evaluationInterval", "delayEvaluation"}
_OWN = {
    "Bandit": {"slackFactor", "slackAmount"},
    "MedianStopping": set[str](),
    "TruncationSelection": {"truncationPercentage"},
}


def check(policy: Mapping[str, Any]) -> None:
    """Raises the refusal of a policy that cannot be."""
    kind = str(policy.get("policyType"))
    if kind not in _OWN:
        raise user_error(400, f"The early termination policy '{kind}' is not one of {', '.join(_OWN)}.")
    if unknown := sorted(policy.keys() - _KNOWN - _OWN[kind]):
        raise user_error(400, f"Could not find member '{unknown[0]}' on object of type '{kind}Policy'.")
    for name, least in (("evaluationInterval", 0), ("delayEvaluation", 0)):
        value = policy.get(name, 0)
        if not isinstance(value, int) or value < least:
            raise user_error(400, f"{name} must be an integer of at least {least}.")
    if kind == "Bandit" and len([n for n in ("slackFactor", "slackAmount") if policy.get(n)]) != 1:
        raise user_error(400, "A bandit policy needs either slackFactor or slackAmount, above 0.")
    if kind == "TruncationSelection" and not 1 <= int(policy.get("truncationPercentage") or 0) <= 99:
        raise user_error(400, "truncationPercentage must be between 1 and 99.")


def is_due(policy: Mapping[str, Any], reports: int) -> bool:
    """Whether the policy is applied to a trial that has just made its `reports`th report."""
    interval = int(policy.get("evaluationInterval") or 1)
    return reports >= int(policy.get("delayEvaluation") or 0) and reports % interval == 0


def is_to_stop(
    policy: Mapping[str, Any], goal: str, mine: Sequence[float], others: Sequence[Sequence[float]]
) -> bool:
    """`mine` are a trial's reports so far, `others` those of each other trial; `goal` is Maximize or Minimize."""
    sign = 1.0 if goal == "Maximize" else -1.0
    count = len(mine)
    rivals = [[sign * value for value in each[:count]] for each in others if each]
    if not rivals or not is_due(policy, count):
        return False
    own = [sign * value for value in mine]
    match policy["policyType"]:
        case "Bandit":
            return max(own) < _allowed(policy, max(max(each) for each in rivals))
        case "MedianStopping":
            return max(own) < median([sum(each) / len(each) for each in (*rivals, own)])
        case _:
            abreast = [each for each in rivals if len(each) == count]
            lowest = int((len(abreast) + 1) * int(policy["truncationPercentage"]) / 100)
            return sum(each[-1] < own[-1] for each in abreast) < lowest


def _allowed(policy: Mapping[str, Any], leader: float) -> float:
    """The least that the bandit policy lets go on. `leader` is signed: the more the better."""
    if amount := policy.get("slackAmount"):
        return leader - float(amount)
    factor = 1 + float(policy["slackFactor"])
    return leader / factor if leader > 0 else leader * factor
