"""A model per unit: what was judged becomes one version of winners and of what is carried over, asked once or often."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from activities import data, registry, serving, units
from node.job import parse_job
from node.unit_job import parse_units_job
from shared.azure import blob, ledger, ml_client
from shared.domain.deploy import LineageQuery
from shared.domain.errors import Cancelled, ConflictError, SpecError
from shared.domain.gate import Ruling
from shared.domain.jobs import BlobRef
from shared.domain.registry import ModelQuery, ModelRef
from shared.domain.retrain import Registered
from shared.domain.scoring import BatchRequest, WriteJobRequest
from shared.domain.unit_steps import (
    CopyUnitsRequest,
    EvaluateUnitsRequest,
    JudgeUnitsRequest,
    UnitEvaluationJobRequest,
    UnitsQuery,
    UnitsRegistration,
    UnitsVerdict,
)
from shared.domain.units import unit_key
from tests.activities.retrainings import OFFER, Retrained
from tests.activities.runs import Run, workload
from tests.support.cloud import environment

pytestmark = pytest.mark.usefixtures("cloud")

CONTRACT = {
    "inputs": [{"name": "distance", "type": "double"}],
    "output": {"name": "p", "type": "double"},
    "keys": [],
}
GAIN = {"won": (0.02, 0.01, 0.03), "lost": (0.01, -0.01, 0.03)}


class Units(Retrained):
    """A run of which each carrier is a unit."""

    @classmethod
    def of(cls, carriers: list[str], **more: Any) -> Units:
        made = cls(
            {"trials": {"unitColumn": "carrier"}, "gate": {"minRows": 10, "firstModel": {"min": 0.6}}}, **more
        )
        made.land("1.parquet", "2.parquet", "3.parquet", carrier=carriers, distance=[1.0] * len(carriers),
                  late=[0] * len(carriers))  # fmt: skip
        return made

    def after(self, carriers: list[str]) -> Units:
        """The next run of the same workload, on other carriers."""
        following = Units(self.changes, tag=self.tag)
        for name in ("1", "2", "3"):
            blob.delete("landing", f"{self.prefix}{name}.parquet")
        following.land("1.parquet", "2.parquet", "3.parquet", carrier=carriers, distance=[1.0] * len(carriers),
                       late=[0] * len(carriers))  # fmt: skip
        return following

    @property
    def champion(self) -> ModelRef:
        return registry.read_model(ModelQuery(name=self.model))

    def trained(self, unit: str, content: bytes | None) -> None:
        """What an agent leaves of a unit's trial; without content it failed."""
        trial = self.trial(unit)
        if content is None:
            self.record(trial, None, job="t000-e1")
            return
        prefix = f"runs/{self.run}/trials/{trial}/x/"
        blob.create_only("muster", f"{prefix}model.joblib", content)
        model = {"container": "muster", "prefix": prefix, "file": "model.joblib", "flavor": "sklearn",
                 "sha256": hashlib.sha256(content).hexdigest()}  # fmt: skip
        self.record(trial, model=model, job="t000-e1")

    def trial(self, unit: str) -> str:
        planned: list[dict[str, Any]] = ledger.read(self.plan.trials.blob) or []
        return next(str(each["id"]) for each in planned if each["unit"] == unit)

    def judged(self, **fates: str) -> None:
        """What a judging job leaves: each unit that is named won, lost, or was alone."""
        told = []
        for unit, what in fates.items():
            models: dict[str, Any] = {"challenger": {"metrics": {"auc": 0.7}}}
            difference = {}
            if what in GAIN:
                models["champion"] = {"metrics": {"auc": 0.68}}
                difference = {"auc": dict(zip(("value", "low", "high"), GAIN[what], strict=True))}
            record = ledger.read(f"runs/{self.run}/trials/{self.trial(unit)}.json") or {}
            source = record["model"]
            size = blob.head("muster", source["prefix"] + source["file"]).size
            model = {"container": "muster", "blob": source["prefix"] + source["file"], "file": source["file"],
                     "sha256": source["sha256"], "flavor": "sklearn", "size": size, "contract": "c"}  # fmt: skip
            evaluation = {"rows": 50, "models": models, "difference": difference}
            told.append({"id": self.trial(unit), "value": unit, "model": model, "evaluation": evaluation})
        document = {"contracts": {"c": CONTRACT}, "units": told}
        blob.create_only(
            "muster", f"runs/{self.run}/units/evaluations/00000.json", json.dumps(document).encode()
        )

    def job(self, index: int = 0, champion: ModelRef | None = None) -> Any:  # type: ignore[override]
        evaluate = EvaluateUnitsRequest(
            request=self.request, data=self.data, plan=self.plan, champion=champion, offers=(OFFER,)
        )
        return units.write_unit_evaluation_job(
            UnitEvaluationJobRequest(evaluate=evaluate, index=index, epoch=1)
        )

    def verdict(self, champion: ModelRef | None = None) -> UnitsVerdict:
        self.results()
        return units.judge_units(JudgeUnitsRequest(request=self.request, plan=self.plan, champion=champion))

    def claimed(self, champion: ModelRef | None = None) -> UnitsRegistration:
        registration = UnitsRegistration(
            request=self.request, data=self.data, champion=champion, judged=self.verdict(champion)
        )
        version = units.claim_units_version(registration).version
        return registration.model_copy(update={"version": version})

    def copy(self, registration: UnitsRegistration, start: int, stop: int) -> None:  # type: ignore[override]
        assert registration.judged.next is not None
        units.copy_units(
            CopyUnitsRequest(request=self.request, version=registration.version, next=registration.judged.next,
                             start=start, stop=stop)
        )  # fmt: skip

    def register(self, champion: ModelRef | None = None) -> Registered:
        registration = self.claimed(champion)
        self.copy(registration, 0, 100)
        return units.register_units(registration)


@pytest.fixture(autouse=True)
def _workspace(request: pytest.FixtureRequest) -> Iterator[None]:
    """Azure ML is asked by the one test that looks there: its reads are counted for all who share it."""
    asks = request.function is test_the_first_version_holds_the_units_that_met_the_rule_for_first_models
    with environment({} if asks else {"MUSTER_ML_WORKSPACE": ""}):
        yield


@pytest.fixture
def first() -> Units:
    """A first version of AA and B6; the trial of UA failed."""
    made = Units.of(["AA", "B6", "UA"])
    for unit, content in (("AA", b"AA of the first"), ("B6", b"B6 of the first"), ("UA", None)):
        made.trained(unit, content)
    made.judged(AA="alone", B6="alone")
    return made


def _held(version: ModelRef) -> dict[str, bytes]:
    index = blob.read_json("models", version.prefix + version.file)
    return {each["unit"]: blob.read("models", f"{version.prefix}units/{each['key']}/{each['file']}")
            for each in index["units"]}  # fmt: skip


def test_the_first_version_holds_the_units_that_met_the_rule_for_first_models(first: Units) -> None:
    registered = first.register()

    model = first.champion
    assert registered.promoted and registered.model == model and model.flavor == "units"
    assert _held(model) == {"AA": b"AA of the first", "B6": b"B6 of the first"}
    assert hashlib.sha256(blob.read("models", f"{model.prefix}UNITS.json")).hexdigest() == model.sha256
    card = blob.read_json("models", f"{model.prefix}MODEL.json")
    assert (card["units"], card["inputs"]) == ({"column": "carrier", "count": 2}, CONTRACT["inputs"])
    lineage = blob.read_json("models", f"{model.prefix}LINEAGE.json")
    assert lineage["sha256"] == model.sha256 and lineage["run"] == first.run
    assert (lineage["units"]["new"], lineage["units"]["failed"]) == (2, 1)
    seen = ml_client.looked(ml_client.client().model_versions.get, "read", model.name, "1").body["properties"]
    assert (seen["tags"]["units.new"], seen["tags"]["modelDigest"]) == ("2", model.sha256)
    table = [
        json.loads(line) for line in blob.read("muster", f"runs/{first.run}/units/table.jsonl").splitlines()
    ]
    assert [(row["unit"], row["fate"]) for row in table] == [("AA", "new"), ("B6", "new"), ("UA", "failed")]


def test_the_next_version_has_the_winners_and_carries_over_what_the_others_have(first: Units) -> None:
    champion = first.register().model
    second = first.after(["AA", "DL", "UA"])  # B6 is gone, DL is new
    for unit in ("AA", "DL", "UA"):
        second.trained(unit, f"{unit} of the second".encode())
    second.judged(AA="lost", DL="alone", UA="alone")

    registered = second.register(champion)

    assert str(registered.model) == f"{first.model}:2" and registered.promoted
    assert _held(registered.model) == {
        "AA": b"AA of the first", "B6": b"B6 of the first", "DL": b"DL of the second", "UA": b"UA of the second",
    }  # fmt: skip
    index = blob.read_json("models", f"{registered.model.prefix}UNITS.json")
    runs = {each["unit"]: each["run"] for each in index["units"]}
    assert runs == {"AA": first.run, "B6": first.run, "DL": second.run, "UA": second.run}


def test_registering_again_from_any_point_is_registering_once(first: Units) -> None:
    registration = first.claimed()
    first.copy(registration, 0, 1)  # and a crash
    with pytest.raises(ConflictError, match="1 models are missing"):
        units.register_units(registration)
    again = first.claimed()
    assert again == registration
    for _ in range(2):
        first.copy(again, 0, 2)
        whole = units.register_units(again)

    for lost in ("champion.json", "1/MODEL.json"):
        blob.delete("models", f"{first.model}/{lost}")
        assert units.register_units(again) == whole
    assert blob.list_folders("models", f"{first.model}/") == ["1"] and first.champion == whole.model


def test_what_lies_in_a_version_s_place_and_is_not_its_own_is_never_crowned(first: Units) -> None:
    registration = first.claimed()
    path = f"{first.model}/{registration.version}/units/{unit_key('AA')}/model.joblib"
    blob.create_only("models", path, b"somebody was here before")
    first.copy(registration, 0, 2)

    with pytest.raises(ConflictError, match="differ in size"):
        units.register_units(registration)


def test_a_job_of_units_says_all_that_the_agent_asks_for(first: Units) -> None:
    champion = first.register().model
    second = first.after(["AA", "DL", "UA"])
    second.trained("AA", b"a")
    second.trained("DL", b"d")
    second.trained("UA", None)

    written = second.job(champion=champion)
    told = blob.read("muster", written.job.job.blob)
    job = parse_units_job(told, json.loads(told)["account_url"])

    assert [(unit.value, sorted(unit.models)) for unit in job.units] == [
        ("AA", ["challenger", "champion"]), ("DL", ["challenger"]),
    ]  # fmt: skip
    kept = job.units[0].models["champion"]
    assert blob.read(kept.container, kept.prefix + kept.file) == b"AA of the first"
    assert job.contracts[job.units[0].contracts["champion"]]["inputs"] == CONTRACT["inputs"]
    second.judged(AA="lost")
    assert second.job(champion=champion).job == written.job  # as it was written once
    assert second.job(index=1, champion=champion).job is None


def test_a_unit_column_needs_a_model_of_units_by_that_column(first: Units) -> None:
    champion = first.register().model
    for change, why in (({"flavor": "sklearn"}, "one model for all"), ({}, "units by carrier")):
        other = Retrained({"trials": {"unitColumn": "distance"}})
        query = UnitsQuery(request=other.request, champion=champion.model_copy(update=change))
        with pytest.raises(SpecError, match=why):
            units.check_units(query)
    units.check_units(UnitsQuery(request=first.request, champion=champion))


def test_a_cancelled_run_registers_nothing(first: Units) -> None:
    ledger.request_cancel(first.run, who="test", reason="enough")
    with pytest.raises(Cancelled):
        first.claimed()


def test_no_endpoint_takes_a_model_per_unit(first: Units) -> None:
    refused = serving.check_lineage(LineageQuery(model=first.register().model))

    assert not refused.ok and "a model for each unit" in refused.reason


def test_a_scoring_job_says_what_becomes_of_rows_of_unknown_units(first: Units) -> None:
    model = first.register().model
    item = {"container": "landing", "blob": "a.parquet", "etag": '"0x1"', "size": 1}
    frozen = {"shards": [{"id": "00000", "key": "a" * 16, "items": [item]}], "batches": [["00000"]]}
    for policy, expected in ({}, "leaveEmpty"), ({"unknownUnits": "quarantine"}, "quarantine"):
        run = Run(workload(model={"name": model.name, **policy}))
        ledger.create(f"runs/{run.id}/inputs.json", frozen)
        batch = BatchRequest(
            request=run.request, model=model, inputs=BlobRef(container="muster", blob=f"runs/{run.id}/inputs.json"),
            index=0, offers=(), output_path=run.path,
        )  # fmt: skip
        written = data.write_job(WriteJobRequest(batch=batch, epoch=1))
        assert written.job is not None
        told = blob.read("muster", written.job.job.blob)
        job = parse_job(told, json.loads(told)["account_url"])
        assert job.model is not None and (job.model.flavor, job.model.unknown_units) == ("units", expected)
    assert "unknown_units" not in workload().model_dump_json(), "what is under way has payloads without it"


def test_a_title_that_went_to_another_meanwhile_is_not_taken(first: Units) -> None:
    late = first.claimed()
    first.copy(late, 0, 2)
    blob.create_only("models", f"{first.model}/champion.json", b'{"version": "7"}')

    registered = units.register_units(late)

    assert not registered.promoted and "not champion any more" in registered.note


def test_no_better_model_leaves_a_table_and_no_version(first: Units) -> None:
    champion = first.register().model
    second = first.after(["AA", "B6"])
    for unit in ("AA", "B6"):
        second.trained(unit, b"worse")
    second.judged(AA="lost", B6="lost")

    judged = second.verdict(champion)

    assert judged.verdict.ruling is Ruling.REJECTED and judged.next is None
    assert judged.summary.kept == 2 and judged.summary.table is not None
    assert second.verdict(champion) == judged
