"""What a profile found, on record."""

from __future__ import annotations

from shared.azure import ledger
from shared.domain.profiling import ProfileRecord
from shared.durable import contracts
from shared.durable.blueprint import activity
from shared.durable.contracts import Nothing


@activity(contracts.RECORD_PROFILE)
def record_profile(record: ProfileRecord) -> Nothing:
    """Keep it for ever. The first word stands: a record that is written again is written by a replay of the same run."""
    told = {**record.model_dump(mode="json"), "lines": record.lines}
    ledger.claim(f"deployments/{record.run}/profile.json", told)
    return Nothing()
