"""The contract check accepts what Microsoft shows in its examples, and refuses what is no longer that."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localdev.azuresim.contract import Contract
from localdev.azuresim.contract_allow import ALLOWANCES
from tests.azuresim.specifications import Example, examples, specs_dir

GROUP = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/muster-burn/providers"
VM = f"{GROUP}/Microsoft.Compute/virtualMachines/vm1"
COMPUTE = {"api-version": "2024-07-01"}

# provider, version, least share of official examples accepted. The rest contradict their own specification
# (misspelt enum values, strings where objects are specified, secrets answered).
CORPORA = [
    ("Microsoft.Compute", "2024-07-01", 0.99),
    ("Microsoft.Compute", "2021-07-01", 1.0),
    ("Microsoft.Network", "2024-03-01", 0.96),
    ("Microsoft.MachineLearningServices", "2024-10-01", 0.95),
    ("Microsoft.MachineLearningServices", "2024-01-01-preview", 0.95),
    ("Microsoft.MachineLearningServices", "2023-08-01-preview", 0.95),
    ("Microsoft.MachineLearningServices", "2022-02-01-preview", 0.95),
]
MUTATED = CORPORA[0], CORPORA[2], CORPORA[3]


@pytest.fixture(scope="module")
def contract() -> Contract:
    return Contract(specs_dir())


def a_vm() -> dict[str, Any]:
    return {
        "location": "westeurope",
        "tags": {"muster-lease": "l1"},
        "properties": {
            "hardwareProfile": {"vmSize": "Standard_D4s_v5"},
            "storageProfile": {
                "imageReference": {
                    "publisher": "microsoft-dsvm",
                    "offer": "ubuntu-2204",
                    "sku": "2204-gen2",
                    "version": "latest",
                },
                "osDisk": {"createOption": "FromImage", "deleteOption": "Delete"},
            },
            "networkProfile": {"networkApiVersion": "2020-11-01", "networkInterfaceConfigurations": []},
        },
    }


@pytest.mark.parametrize(("namespace", "version", "least"), CORPORA)
def test_the_official_examples_are_accepted(
    contract: Contract, namespace: str, version: str, least: float
) -> None:
    bodies: Counter[str] = Counter()
    why: Counter[str] = Counter()
    for example in examples(contract, namespace, version):
        for kind, findings in _findings(contract, example):
            bodies[f"{kind} {'refused' if findings else 'accepted'}"] += 1
            why.update(f"{example.operation}: {finding}" for finding in findings)
    accepted = sum(count for kind, count in bodies.items() if kind.endswith("accepted"))
    print(f"\n{namespace} {version}: {dict(bodies)}")
    for finding, count in why.most_common(20):
        print(f"  {count} x {finding[:180]}")
    assert accepted >= 6
    assert accepted / bodies.total() >= least


def _findings(contract: Contract, example: Example) -> Iterator[tuple[str, list[str]]]:
    yield (
        "requests",
        contract.check_request(example.method, example.path, example.query, example.body),
    )
    for status, body in example.answers.items():
        yield (
            "answers",
            contract.check_response(example.method, example.path, example.query, status, body),
        )


def _unknown_property(body: Any) -> bool:
    body["unheardOf"] = 1
    return True


def _unknown_property_inside(body: Any) -> bool:
    if isinstance(body.get("properties"), dict) and body["properties"]:
        body["properties"]["unheardOf"] = 1
        return True
    return False


def _wrong_type(body: Any) -> bool:
    """Put an object where the first text of `properties` was."""
    inside = body.get("properties", body)
    for name, value in inside.items() if isinstance(inside, dict) else ():
        if isinstance(value, str) and name != "tags":
            inside[name] = {"not": "a text"}
            return True
    return False


@pytest.mark.parametrize("mutate", [_unknown_property, _unknown_property_inside, _wrong_type])
@pytest.mark.parametrize(("namespace", "version", "_least"), MUTATED)
def test_an_example_with_something_wrong_in_it_is_refused(
    contract: Contract, namespace: str, version: str, _least: float, mutate: Callable[[Any], bool]
) -> None:
    tried = refused = 0
    for example in examples(contract, namespace, version):
        body = copy.deepcopy(example.body)
        if isinstance(body, dict) and mutate(body):
            tried += 1
            refused += bool(contract.check_request(example.method, example.path, example.query, body))
        for status, answer in example.answers.items():
            answer = copy.deepcopy(answer)
            if isinstance(answer, dict) and mutate(answer):
                tried += 1
                refused += bool(
                    contract.check_response(example.method, example.path, example.query, status, answer)
                )
    print(f"\n{namespace} {version} {mutate.__name__}: {refused} of {tried} refused")
    assert tried > 100
    assert refused / tried >= 0.99


@pytest.mark.parametrize("version", ["2024-07-01", "2026-04-01"])
def test_a_machine_as_the_app_sends_it_is_as_specified(contract: Contract, version: str) -> None:
    assert contract.check_request("PUT", VM, {"api-version": version}, a_vm()) == []


@pytest.mark.parametrize("version", ["2024-07-01", "2026-04-01"])
@pytest.mark.parametrize(
    ("place", "value", "finding"),
    [
        (("properties", "osDisk"), {}, "'osDisk' is not a property"),
        (("properties", "hardwareProfile"), "big", "is not of type 'object'"),
        (("properties", "vmId"), "1", "'vmId' is read-only"),
        (("type",), "Microsoft.Compute/virtualMachines", "'type' is read-only"),
        (("location",), 3, "is not of type 'string'"),
        (("tags", "n"), 1, "is not of type 'string'"),
    ],
)
def test_a_wrong_request_is_refused_with_its_place(
    contract: Contract, version: str, place: tuple[str, ...], value: Any, finding: str
) -> None:
    body = a_vm()
    target = body
    for name in place[:-1]:
        target = target[name]
    target[place[-1]] = value
    findings = contract.check_request("PUT", VM, {"api-version": version}, body)
    assert len(findings) == 1
    assert finding in findings[0]
    assert findings[0].startswith("$")


@pytest.mark.parametrize("version", ["2024-07-01", "2026-04-01"])
def test_what_a_get_answered_may_be_sent_back(contract: Contract, version: str) -> None:
    """Services ignore read-only properties, and `az resource update` and many scripts rely on it."""
    body = {**a_vm(), "id": VM, "name": "vm1", "type": "Microsoft.Compute/virtualMachines"}
    body["properties"] |= {"vmId": "1", "provisioningState": "Succeeded"}
    assert contract.check_request("PUT", VM, {"api-version": version}, body) == []
    body["properties"]["unheardOf"] = 1
    assert contract.check_request("PUT", VM, {"api-version": version}, body) != []


def test_what_is_required_must_be_there(contract: Contract) -> None:
    body = a_vm()
    del body["location"]
    assert "'location' is a required property" in contract.check_request("PUT", VM, COMPUTE, body)[0]
    assert contract.check_request("PATCH", VM, COMPUTE, {"tags": {"a": "b"}}) == []
    assert "needs a body" in contract.check_request("PUT", VM, COMPUTE, None)[0]


def test_enum_values_are_read_without_case_and_answered_with_it(contract: Contract) -> None:
    body = a_vm()
    body["properties"]["storageProfile"]["osDisk"]["createOption"] = "fromimage"
    assert contract.check_request("PUT", VM, COMPUTE, body) == []
    assert "'fromimage' is not one of" in contract.check_response("PUT", VM, COMPUTE, 200, body)[0]
    body["properties"]["storageProfile"]["osDisk"]["createOption"] = "Conjure"
    assert "'Conjure' is not one of" in contract.check_request("PUT", VM, COMPUTE, body)[0]


def test_an_optional_null_is_allowed_in_an_answer_and_nowhere_else(contract: Contract) -> None:
    body = a_vm()
    body["properties"]["licenseType"] = None
    assert contract.check_response("GET", VM, COMPUTE, 200, body) == []
    assert contract.check_request("PUT", VM, COMPUTE, body) != []
    body["location"] = None
    assert contract.check_response("GET", VM, COMPUTE, 200, body) != []


def test_a_secret_is_never_answered(contract: Contract) -> None:
    body = a_vm()
    body["properties"]["osProfile"] = {"adminUsername": "muster", "adminPassword": "hunter2"}
    assert contract.check_request("PUT", VM, COMPUTE, body) == []
    assert "'adminPassword' is a secret" in contract.check_response("PUT", VM, COMPUTE, 201, body)[0]


def test_a_run_command_keeps_its_protected_parameters_to_itself(contract: Contract) -> None:
    path = f"{VM}/runCommands/score"
    body = {
        "location": "westeurope",
        "properties": {
            "source": {"script": "true"},
            "parameters": [{"name": "A", "value": "1"}],
            "protectedParameters": [{"name": "B", "value": "2"}],
            "asyncExecution": True,
        },
    }
    assert contract.check_request("PUT", path, COMPUTE, body) == []


@pytest.mark.parametrize(
    ("query", "finding"),
    [
        ({**COMPUTE, "$expand": "instanceView"}, None),
        ({**COMPUTE, "$expand": "everything"}, "?$expand: 'everything' is not one of"),
        ({**COMPUTE, "colour": "red"}, "?colour: not a parameter of VirtualMachines_Get"),
        ({}, "no api-version"),
        ({"api-version": "2099-01-01"}, "not specified for microsoft.compute 2099-01-01"),
        ({"api-version": "2014-01-01"}, "not specified for microsoft.compute 2014-01-01"),
        ({"api-version": "latest"}, "not specified for microsoft.compute latest"),
    ],
)
def test_the_query_is_checked(contract: Contract, query: dict[str, str], finding: str | None) -> None:
    findings = contract.check_request("GET", VM, query, None)
    assert findings == [] if finding is None else finding in findings[0]


def test_an_unknown_path_is_refused(contract: Contract) -> None:
    assert "not specified" in contract.check_request("POST", f"{VM}/levitate", COMPUTE, None)[0]


def test_paths_compare_without_case_and_the_longest_literal_wins(contract: Contract) -> None:
    assert contract.check_request("GET", VM.replace("resourceGroups", "RESOURCEGROUPS"), COMPUTE, None) == []
    view = {"statuses": [{"code": "PowerState/running", "level": "Info"}]}
    assert contract.check_response("GET", f"{VM}/instanceView", COMPUTE, 200, view) == []
    assert contract.check_response("GET", VM, COMPUTE, 200, view) != []


def test_a_status_no_one_documented_is_refused(contract: Contract) -> None:
    assert (
        "status 202: VirtualMachines_CreateOrUpdate"
        in (contract.check_response("PUT", VM, COMPUTE, 202, a_vm())[0])
    )
    assert contract.check_response("POST", f"{VM}/deallocate", COMPUTE, 202, None) == []


def test_a_refusal_has_the_form_of_arm(contract: Contract) -> None:
    error = {"error": {"code": "SkuNotAvailable", "message": "no"}}
    assert contract.check_response("PUT", VM, COMPUTE, 409, error) == []
    assert contract.check_response("PUT", VM, COMPUTE, 409, {"error": "no"}) != []
    assert contract.check_response("PUT", VM, COMPUTE, 409, {"Error": {}}) != []


def test_the_operation_of_an_asynchronous_call_is_checked(contract: Contract) -> None:
    path = "/subscriptions/s/providers/Microsoft.Compute/locations/westeurope/operations/1"
    running = {"status": "InProgress", "startTime": "2026-01-01T00:00:00+00:00", "name": "1"}
    assert contract.check_request("GET", path, COMPUTE, None) == []
    assert contract.check_response("GET", path, COMPUTE, 200, running) == []
    assert contract.check_response("GET", path, COMPUTE, 200, {"state": "InProgress"}) != []
    assert contract.check_response("GET", path, COMPUTE, 200, {**running, "startTime": "now"}) != []


@pytest.mark.parametrize(
    ("path", "version", "body", "wrong"),
    [
        (
            "Microsoft.Compute/disks/d1",
            "2024-03-02",
            {"location": "westeurope", "properties": {"creationData": {"createOption": "Empty"}}},
            {"location": "westeurope", "properties": {"diskSizeGB": 1}},
        ),
        (
            "Microsoft.DevTestLab/schedules/shutdown-computevm-vm1",
            "2018-09-15",
            {"location": "westeurope", "properties": {"status": "Enabled", "targetResourceId": VM}},
            {"location": "westeurope", "properties": {"status": "Perhaps"}},
        ),
        (
            "Microsoft.Network/networkInterfaces/n1",
            "2024-03-01",
            {"location": "westeurope", "properties": {"ipConfigurations": [{"name": "a"}]}},
            {"location": "westeurope", "properties": {"ipConfigurations": {"name": "a"}}},
        ),
    ],
)
def test_every_provider_the_simulator_plays_is_covered(
    contract: Contract, path: str, version: str, body: Any, wrong: Any
) -> None:
    query = {"api-version": version}
    assert contract.check_request("PUT", f"{GROUP}/{path}", query, body) == []
    assert contract.check_request("PUT", f"{GROUP}/{path}", query, wrong) != []


def test_resources_are_listed_as_specified(contract: Contract) -> None:
    path, query = GROUP.removesuffix("/providers") + "/resources", {"api-version": "2021-04-01"}
    filtered = {**query, "$filter": "tagName eq 'muster-app'"}
    assert contract.check_request("GET", path, filtered, None) == []
    assert contract.check_response("GET", path, query, 200, {"value": [{"id": VM, "tags": {}}]}) == []
    assert contract.check_response("GET", path, query, 200, {"value": [{"name": 1}]}) != []


def test_a_version_without_a_specification_is_read_from_its_neighbour(contract: Contract) -> None:
    """Unknown names pass there, wrong types do not."""
    query = {"api-version": "2025-04-01"}
    assert (
        contract.check_request("PUT", VM, query, {**a_vm(), "placement": {"zonePlacementPolicy": "Any"}})
        == []
    )
    assert contract.check_request("PUT", VM, query, {**a_vm(), "location": 3}) != []


def test_files_are_read_when_first_needed(contract: Contract) -> None:
    fresh = Contract(specs_dir())
    assert fresh.routes.documents.loaded() == 0
    fresh.check_request("GET", VM, COMPUTE, None)
    assert 0 < fresh.routes.documents.loaded() < 25


def test_a_folder_without_specifications_covers_only_our_own(tmp_path: Path) -> None:
    empty = Contract(tmp_path)
    assert not empty.covers("Microsoft.MachineLearningServices")
    assert empty.covers("Microsoft.DevTestLab")


def test_every_known_deviation_is_named_dated_and_needed_once() -> None:
    assert len({entry.name for entry in ALLOWANCES}) == len(ALLOWANCES) < 15
    for entry in ALLOWANCES:
        assert entry.reason
        assert entry.date.startswith("20")


def test_a_deviation_let_pass_is_counted() -> None:
    contract = Contract(specs_dir())
    contract.check_request("PUT", VM, COMPUTE, a_vm())
    assert contract.allowed == {"vm-size-enum-is-stale": 1}


def test_a_version_known_from_bicep_only_is_checked_by_it(contract: Contract) -> None:
    """azure-ai-ml puts command jobs with 2025-01-01-preview, of which there is no Swagger."""
    query, namespace = {"api-version": "2025-01-01-preview"}, "Microsoft.MachineLearningServices"
    jobs = [
        job for job in examples(contract, namespace, "2024-10-01") if job.operation == "Jobs_CreateOrUpdate"
    ]
    assert len(jobs) == 4
    for job in jobs:
        assert contract.check_request("PUT", job.path, query, job.body) == []
        for status, answer in job.answers.items():
            assert contract.check_response("PUT", job.path, query, status, answer) == []
        body = copy.deepcopy(job.body)
        body["properties"]["unheardOf"] = 1
        assert "'unheardOf' is not a property" in contract.check_request("PUT", job.path, query, body)[0]
