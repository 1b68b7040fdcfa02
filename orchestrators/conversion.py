"""Conversion: the model becomes an ONNX file on a machine of its own, and is served only if it answers the same."""

from __future__ import annotations

from orchestrators.deploying import Deploying
from orchestrators.jobs import LAST_LOOK_S, Piece, Terms, run_jobs
from orchestrators.machines import affordable_offers, check_headroom, lease_of, on_machines
from shared.domain.conversion import Conversion, ConversionReport
from shared.domain.converting import (
    ConversionPlan,
    ConversionWork,
    ConversionWorked,
    ConvertJobRequest,
    ConvertRequest,
    KeepRequest,
)
from shared.domain.cost import RunCost
from shared.domain.errors import AppError, Cancelled, ConflictError, from_failure, to_failure
from shared.domain.jobs import WrittenJob
from shared.domain.lease import Lease
from shared.durable import contracts
from shared.durable.audit import AuditTrail
from shared.durable.blueprint import orchestrator
from shared.durable.flow import Flow, Steps

LOOKS = 60  # at a job that takes its whole time, about: each is some events of the history
PERCENT = 3


def convert(flow: Flow, trail: AuditTrail, run: Deploying) -> Steps[None]:
    """Put the converted model in the place of the one that was fixed. Nothing happens where no conversion is declared.

    Nothing is at the endpoint yet. Raises ConflictError, code NotConverted, if the model cannot be converted or answers
    differently, and what kept the machine from finding out; not where `onFailure` says to serve the original then.
    """
    conversion = run.request.workload.conversion
    if conversion is None:
        return
    assert run.model is not None
    if run.model.flavor == conversion.to:
        run.lines.append(f"conversion: {run.model} is {conversion.to} already")
        return
    asked = ConvertRequest(
        run=run.request.run, model=run.model, conversion=conversion, started_by=run.request.started_by
    )
    flow.status("converting", waiting_for=f"{run.model} as {conversion.to}", percent=PERCENT)
    try:
        report = yield from _converted(flow, run, asked)
    except Cancelled:
        raise
    except AppError as error:
        report = ConversionReport(
            served=str(run.model), sha256=run.model.sha256, converted=False, reason=str(error)[:800],
            usd=RunCost.of(asked.run, tuple(run.converting)).usd,
        )  # fmt: skip
        if conversion.on_failure == "fail" or flow.now >= run.deadline:
            run.conversion = report
            raise
    run.conversion = report
    run.lines += report.lines
    after = report.served if report.converted else f"{report.served}, as it is"
    yield from trail.write("model converted", str(asked.model), why=report.reason[:400], after=after)
    if not report.converted and conversion.on_failure == "fail":
        raise ConflictError(
            f"{asked.model} is not served as {conversion.to}: {report.reason}", code="NotConverted",
            target=str(asked.model),
        )  # fmt: skip


def _converted(flow: Flow, run: Deploying, asked: ConvertRequest) -> Steps[ConversionReport]:
    """Have it converted, unless it was before, and take over what may be served now."""
    plan = yield from flow.call(contracts.PREPARE_CONVERSION, asked)
    if not plan.is_done:
        yield from _on_machine(flow, run, asked, plan)
    usd = RunCost.of(asked.run, tuple(run.converting)).usd
    kept = yield from flow.call(contracts.KEEP_CONVERSION, KeepRequest(request=asked, usd=usd))
    if kept.report.converted:
        run.model, run.asset = kept.model, kept.asset
    return kept.report


def _on_machine(flow: Flow, run: Deploying, asked: ConvertRequest, plan: ConversionPlan) -> Steps[None]:
    """Account for the machine also when it failed. Raises what it failed with, CapacityError where none is to be had."""
    assert plan.sample is not None
    conversion = asked.conversion
    report = yield from check_headroom(flow, conversion.compute, machines=1)
    offers = affordable_offers(report, conversion.limits, machines=1)
    flow.status("converting", waiting_for=f"a machine to convert {asked.model}", percent=PERCENT)
    work = ConversionWork(request=asked, sample=plan.sample, offers=offers)
    (outcome,) = yield from flow.gather(contracts.CONVERT_MODEL, [work], lambda each: each.instance_id)
    if outcome.error:
        raise outcome.error
    assert outcome.value is not None
    run.converting += outcome.value.charges
    run.remains += outcome.value.remains
    flow.status(spent_usd=run.spent)
    if outcome.value.failure:
        raise from_failure(outcome.value.failure)


@orchestrator(contracts.CONVERT_MODEL)
def convert_model(flow: Flow, work: ConversionWork) -> Steps[ConversionWorked]:
    """Convert on one machine, on another if it cannot be had or is lost. The first record that is left stays."""
    asked = work.request
    conversion = asked.conversion
    trail = AuditTrail(flow, who=asked.started_by)
    tried = yield from on_machines(
        flow,
        trail,
        work.offers,
        lambda offer, epoch: lease_of(
            flow, asked.run, "convert", conversion.compute, conversion.limits, offer=offer, epoch=epoch
        ),
        lambda lease: _run_job(flow, trail, work, lease),
    )
    return ConversionWorked(
        charges=tuple(tried.charges),
        remains=tuple(tried.remains),
        failure=to_failure(tried.error) if tried.error else None,
    )


def _run_job(flow: Flow, trail: AuditTrail, work: ConversionWork, lease: Lease) -> Steps[str]:
    def write(attempt: int) -> Steps[WrittenJob]:
        request = ConvertJobRequest(work=work, epoch=lease.epoch, attempt=attempt)
        return (yield from flow.call(contracts.WRITE_CONVERT_JOB, request))

    terms = _terms(flow, work.request.conversion)
    return (yield from run_jobs(flow, trail, lease, [Piece(write, unit="conversions")], terms))


def _terms(flow: Flow, conversion: Conversion) -> Terms:
    limit = conversion.limits.deadline
    return Terms(
        deadline=flow.now + limit,
        phase="converting",
        last_look_s=max(LAST_LOOK_S, limit.total_seconds() / LOOKS),
    )
