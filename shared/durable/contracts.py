"""Every step once: its name, what goes in, what comes out. The table of all that crosses the durable boundary.

A step's name is the name of its function, so that a name seen in a portal is found by one grep.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.domain import (
    audit,
    considering,
    converting,
    cost,
    deploy,
    deploy_plan,
    drift,
    gate,
    jobs,
    judging,
    lease,
    ml_events,
    notices,
    offers,
    profiling,
    registry,
    retrain,
    scoring,
    serving,
    sweep,
    tending,
    unit_steps,
    upkeep,
)
from shared.domain import retrain_decision as decision
from shared.domain.wire import Wire


@dataclass(frozen=True)
class Step[I: Wire, O: Wire]:
    """An activity or an orchestrator, as its caller sees it."""

    name: str
    input: type[I]
    output: type[O]


class Nothing(Wire):
    """The answer of a step whose effect is all there is to say."""


SCORE_BATCH = Step("score_batch", scoring.ScoreRequest, scoring.RunOutcome)
SCORE_SHARDS = Step("score_shards", scoring.BatchRequest, scoring.BatchOutcome)
REAP_LEASES = Step("reap_leases", upkeep.ReapRequest, upkeep.ReapReport)
RETRAIN = Step("retrain", retrain.RetrainRequest, retrain.RetrainOutcome)
TRAIN_TRIALS = Step("train_trials", retrain.TrialsRequest, retrain.TrialsOutcome)
TRAIN_CHUNK = Step("train_chunk", retrain.ChunkRequest, retrain.ChunkOutcome)
EVALUATE_MODELS = Step("evaluate_models", retrain.EvaluateRequest, retrain.EvaluateOutcome)
EVALUATE_UNITS = Step("evaluate_units", unit_steps.EvaluateUnitsRequest, retrain.EvaluateOutcome)
EVALUATE_UNIT_CHUNK = Step("evaluate_unit_chunk", unit_steps.UnitChunkRequest, retrain.ChunkOutcome)
MEASURE_DRIFT = Step("measure_drift", drift.DriftRequest, drift.DriftOutcome)
MEASURE_FEATURES = Step("measure_features", drift.MeasureRequest, drift.MeasureOutcome)
CONSIDER_EVENT = Step("consider_event", ml_events.MlEvent, considering.EventOutcome)
DEPLOY_MODEL = Step("deploy_model", deploy.DeployRequest, deploy.DeployOutcome)
ROLL_BACK = Step("roll_back", deploy.RollBackRequest, deploy.DeployOutcome)
CONVERT_MODEL = Step("convert_model", converting.ConversionWork, converting.ConversionWorked)
TEND_ENDPOINTS = Step("tend_endpoints", tending.TendRequest, tending.TendReport)

READ_EVENT_TRUTH = Step("read_event_truth", ml_events.MlEvent, considering.EventTruth)
DECIDE_RETRAINING = Step("decide_retraining", considering.DecideRequest, decision.Decision)
CLOSE_EVENT = Step("close_event", ml_events.MlEvent, Nothing)

CHECK_HEADROOM = Step("check_headroom", offers.HeadroomQuery, offers.HeadroomReport)
BEGIN_PROVISION = Step("begin_provision", lease.Lease, lease.Operation)
OBSERVE_MACHINE = Step("observe_machine", lease.Lease, lease.Machine)
BEGIN_RELEASE = Step("begin_release", lease.Lease, lease.Operation)
BEGIN_DELETE = Step("begin_delete", lease.Lease, lease.Operation)
OBSERVE_RELEASE = Step("observe_release", lease.Lease, lease.Remains)
CONFIRM_RELEASE = Step("confirm_release", lease.Lease, lease.Remains)

SUBMIT_JOB = Step("submit_job", jobs.JobStep, lease.Operation)
OBSERVE_JOB = Step("observe_job", jobs.JobQuery, jobs.JobReport)
OBSERVE_JOBS = Step("observe_jobs", jobs.JobsQuery, jobs.JobsReport)
CANCEL_JOB = Step("cancel_job", jobs.JobQuery, Nothing)

READ_MODEL = Step("read_model", registry.ModelQuery, registry.ModelRef)

FREEZE_INPUTS = Step("freeze_inputs", scoring.FreezeRequest, scoring.FrozenInputs)
WRITE_JOB = Step("write_job", scoring.WriteJobRequest, jobs.WrittenJob)
PUBLISH_SCORES = Step("publish_scores", scoring.PublishRequest, scoring.Receipt)
DISCARD_SCORES = Step("discard_scores", scoring.DiscardRequest, Nothing)
RECORD_OUTCOME = Step("record_outcome", scoring.RunOutcome, Nothing)

FREEZE_DATA = Step("freeze_data", retrain.RetrainRequest, retrain.FrozenData)
PLAN_TRIALS = Step("plan_trials", retrain.PlanRequest, retrain.TrialPlan)
WRITE_TRAIN_JOB = Step("write_train_job", retrain.TrainJobRequest, jobs.WrittenJob)
WRITE_SWEEP = Step("write_sweep", sweep.SweepRequest, sweep.WrittenSweep)
SUBMIT_SWEEP = Step("submit_sweep", sweep.SweepStep, lease.Operation)
OBSERVE_SWEEP = Step("observe_sweep", sweep.SweepQuery, sweep.SweepLook)
CLOSE_SWEEP = Step("close_sweep", sweep.SweepClosing, sweep.SweepClosed)
READ_RESULTS = Step("read_results", retrain.ResultsQuery, retrain.TrialResults)
WRITE_EVALUATION_JOB = Step("write_evaluation_job", retrain.EvaluationJobRequest, jobs.WrittenJob)
JUDGE_MODELS = Step("judge_models", retrain.JudgeRequest, gate.Verdict)
REGISTER_MODEL = Step("register_model", retrain.Registration, retrain.Registered)
RECORD_RETRAINING = Step("record_retraining", retrain.RetrainOutcome, Nothing)

CHECK_UNITS = Step("check_units", unit_steps.UnitsQuery, Nothing)
WRITE_UNIT_EVALUATION_JOB = Step(
    "write_unit_evaluation_job", unit_steps.UnitEvaluationJobRequest, jobs.WrittenJob
)
JUDGE_UNITS = Step("judge_units", unit_steps.JudgeUnitsRequest, unit_steps.UnitsVerdict)
CLAIM_UNITS_VERSION = Step("claim_units_version", unit_steps.UnitsRegistration, unit_steps.ClaimedVersion)
COPY_UNITS = Step("copy_units", unit_steps.CopyUnitsRequest, Nothing)
REGISTER_UNITS = Step("register_units", unit_steps.UnitsRegistration, retrain.Registered)

FREEZE_COMPARISON = Step("freeze_comparison", drift.DriftRequest, drift.Comparison)
WRITE_DRIFT_JOB = Step("write_drift_job", drift.DriftJobRequest, jobs.WrittenJob)
READ_MEASUREMENT = Step("read_measurement", drift.DriftRequest, drift.Measurement)
REPORT_DRIFT = Step("report_drift", drift.DriftReport, drift.Reported)
RECORD_DRIFT = Step("record_drift", drift.DriftOutcome, Nothing)

HOLD_ENDPOINT = Step("hold_endpoint", deploy.HoldRequest, deploy.Hold)
SAVE_LAST_GOOD = Step("save_last_good", deploy.LastGood, deploy.EndpointRecord)
COMMIT_ROLLOUT = Step("commit_rollout", deploy.CommitRequest, deploy.EndpointRecord)
FREE_ENDPOINT = Step("free_endpoint", deploy.FreeRequest, deploy.EndpointRecord)
LIST_LOST_ROLLOUTS = Step("list_lost_rollouts", tending.TendRequest, tending.Chores)

RETIRE_DEPLOYMENT = Step("retire_deployment", tending.Chore, serving.Deletion)
PLAN_DEPLOYMENT = Step("plan_deployment", deploy_plan.PlanRequest, deploy_plan.PricedPlan)

PREPARE_CONVERSION = Step("prepare_conversion", converting.ConvertRequest, converting.ConversionPlan)
WRITE_CONVERT_JOB = Step("write_convert_job", converting.ConvertJobRequest, jobs.WrittenJob)
KEEP_CONVERSION = Step("keep_conversion", converting.KeepRequest, converting.Converted)

CHECK_LINEAGE = Step("check_lineage", deploy.LineageQuery, deploy.Lineage)
CHECK_TARGET = Step("check_target", serving.TargetQuery, serving.TargetLook)
READ_ENDPOINT = Step("read_endpoint", serving.EndpointQuery, serving.EndpointLook)
BEGIN_ENDPOINT = Step("begin_endpoint", serving.EndpointPlan, lease.Operation)
BEGIN_DEPLOYMENT = Step("begin_deployment", serving.DeploymentPlan, lease.Operation)
OBSERVE_DEPLOYMENT = Step("observe_deployment", serving.DeploymentPlan, serving.DeploymentLook)
SET_TRAFFIC = Step("set_traffic", serving.TrafficChange, lease.Operation)
READ_SERVING_LOGS = Step("read_serving_logs", serving.LogQuery, serving.ServingLogs)
BEGIN_DELETION = Step("begin_deletion", serving.DeletionRequest, serving.Deletion)

RUN_PROBE = Step("run_probe", deploy.ProbeRequest, deploy.ProbeReport)
RECORD_PROFILE = Step("record_profile", profiling.ProfileRecord, Nothing)
READ_STEP = Step("read_step", judging.StepQuery, judging.Observation)
RECORD_STEP = Step("record_step", judging.StepEvidence, Nothing)
ASK_APPROVAL = Step("ask_approval", deploy.ApprovalRequest, Nothing)
READ_APPROVAL = Step("read_approval", deploy.ApprovalQuery, deploy.ApprovalLook)
RECORD_DEPLOYMENT = Step("record_deployment", deploy.DeployOutcome, Nothing)

OPEN_LEASE = Step("open_lease", lease.LeaseOpening, Nothing)
CLOSE_LEASE = Step("close_lease", lease.LeaseClosing, Nothing)
SETTLE_LEASE = Step("settle_lease", lease.LeaseClosing, Nothing)
LIST_LEASES = Step("list_leases", upkeep.ReapRequest, upkeep.Overdue)
REMOVE_RESOURCE = Step("remove_resource", upkeep.Removal, Nothing)
RECORD_COST = Step("record_cost", cost.RunCost, Nothing)
PUBLISH_NOTICE = Step("publish_notice", notices.Notice, notices.Told)
AUDIT = Step("write_audit", audit.AuditEntry, audit.AuditLink)
