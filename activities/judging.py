"""Champion and challenger on the same frozen test set: the job that compares them, and the gate's verdict on it."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from shared.azure import job_blobs, ledger
from shared.domain import gate
from shared.domain.errors import NotFoundError
from shared.domain.gate import Ruling, Verdict
from shared.domain.jobs import WrittenJob
from shared.domain.retrain import EvaluateRequest, EvaluationJobRequest, JudgeRequest, RetrainOutcome
from shared.durable import contracts
from shared.durable.blueprint import activity
from shared.durable.contracts import Nothing

SCHEMA = "muster.evaluate-job/1"
BOOTSTRAP = 1000  # resamples of the test set's rows
DAY_S = 24 * 3600  # the most that an evaluation lets a model predict
MOST_ROWS = 15  # of the gate's table in a history; the whole is in the run's verdict.json


@activity(contracts.WRITE_EVALUATION_JOB)
def write_evaluation_job(request: EvaluationJobRequest) -> WrittenJob:
    """The job that judges both models. They have been judged already: there is no job."""
    evaluate = request.evaluate
    run = evaluate.request.run
    job = f"evaluate-e{request.epoch}" + (f"r{request.attempt}" if request.attempt > 1 else "")

    def make() -> dict[str, object] | None:
        return None if ledger.exists(_evaluation(run)) else _evaluation_job(evaluate, job)

    timeout_s = int(evaluate.request.workload.limits.deadline.total_seconds())
    return job_blobs.write_once(run, job, make, timeout_s=timeout_s, parts=lambda made: len(made["models"]))


def _evaluation_job(evaluate: EvaluateRequest, job: str) -> dict[str, object]:
    workload = evaluate.request.workload
    champion = evaluate.champion
    models = [{"role": gate.CHAMPION, **champion.model_dump(mode="json")}] if champion else []
    return {
        **job_blobs.job_head(SCHEMA, evaluate.request.run, job),
        "data": evaluate.data.manifest.model_dump(mode="json"),
        "label": workload.data.label,
        "models": [*models, _challenger(evaluate)],
        "metrics": [workload.gate.metric],
        "slices": [each.column for each in workload.gate.slices],
        "confidence": workload.gate.confidence,
        "bootstrap": BOOTSTRAP,
        "seed": workload.trials.seed,
        "timeout_s": min(int(workload.limits.deadline.total_seconds()), DAY_S),
    }


def _challenger(evaluate: EvaluateRequest) -> dict[str, object]:
    run, trial = evaluate.request.run, evaluate.challenger
    record = ledger.read(f"runs/{run}/trials/{trial}.json")
    if record is None or not record.get("model"):
        raise NotFoundError(f"trial {trial} of {run} has no model on record", code="TrialNotFound")
    model: dict[str, Any] = record["model"]
    wanted = ("container", "prefix", "file", "sha256", "flavor")
    return {
        "role": gate.CHALLENGER,
        "name": evaluate.request.workload.model.name,
        "version": trial,
        **{name: model[name] for name in wanted},
    }


@activity(contracts.JUDGE_MODELS)
def judge_models(request: JudgeRequest) -> Verdict:
    """The declared gate's verdict on what the evaluation found. The whole table stays in the run's verdict.json."""
    run, workload = request.request.run, request.request.workload
    record = ledger.read(_evaluation(run))
    try:
        evaluation = gate.read_evaluation(record) if record is not None else None
        verdict = gate.judge(evaluation, workload.gate, has_champion=request.champion is not None)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        verdict = Verdict(
            ruling=Ruling.INCONCLUSIVE, reason=f"the evaluation is not readable: {where}: {fault['msg']}"
        )
    ledger.create(f"runs/{run}/verdict.json", verdict)
    return verdict.brief(MOST_ROWS)


def _evaluation(run: str) -> str:
    return f"runs/{run}/evaluation.json"


@activity(contracts.RECORD_RETRAINING)
def record_retraining(outcome: RetrainOutcome) -> Nothing:
    """How the run ended, for ever."""
    ledger.create(f"runs/{outcome.run}/outcome.json", outcome)
    return Nothing()
