"""A conversion as steps: what a deployment asks of the machine that converts, and what it gets."""

from __future__ import annotations

from shared.domain.conversion import Conversion, ConversionReport
from shared.domain.cost import Charge
from shared.domain.errors import Failure
from shared.domain.jobs import BlobRef
from shared.domain.offers import Offer
from shared.domain.registry import ModelRef
from shared.domain.wire import Wire


class ConvertRequest(Wire):
    """Convert `model` for the deployment `run`, as `conversion` says."""

    run: str
    model: ModelRef
    conversion: Conversion
    started_by: str


class ConversionPlan(Wire):
    """What is to be done: nothing where the same was done before (`is_done`). `sample`: the frozen list of blobs."""

    is_done: bool
    sample: BlobRef | None = None
    blobs: int = 0


class ConversionWork(Wire):
    """Convert on the first of `offers` that can be had."""

    request: ConvertRequest
    sample: BlobRef
    offers: tuple[Offer, ...]

    @property
    def instance_id(self) -> str:
        return convert_instance_id(self.request.run)


def convert_instance_id(run: str) -> str:
    return f"{run}.convert"


class ConversionWorked(Wire):
    """How the machine's part ended. What it found is in the run's conversion.json."""

    charges: tuple[Charge, ...] = ()
    remains: tuple[str, ...] = ()
    failure: Failure | None = None


class ConvertJobRequest(Wire):
    """Write the job of an epoch. No job when the run's record is there already."""

    work: ConversionWork
    epoch: int
    attempt: int = 1


class KeepRequest(Wire):
    """Judge and keep what was found. `usd`: what finding it out has cost this run."""

    request: ConvertRequest
    usd: float = 0.0


class Converted(Wire):
    """The model to serve: the converted one if it passed, else the original. `asset`: its id in Azure ML, if any."""

    model: ModelRef
    asset: str = ""
    report: ConversionReport
