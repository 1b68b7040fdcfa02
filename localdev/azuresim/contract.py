"""Is this request, and this answer, what Microsoft's public specifications allow?

The specifications (Swagger with its examples, Bicep types) are not part of the project: `Contract` reads them from a
folder, lazily, provider and version by version. Where a version has no Swagger, paths and statuses come from the
nearest one, and bodies from Bicep if there are types, else from that Swagger with unknown names let through.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from localdev.azuresim.contract_allow import allowance
from localdev.azuresim.contract_routes import Operation, Routes, Spec, provider, resource_type
from localdev.azuresim.contract_schema import Direction, Schema, problems
from localdev.azuresim.contract_swagger import Compiler, Node

# The operation resource of an asynchronous call is in no Swagger; its form is in Azure/azure-resource-manager-rpc,
# v1.0/async-api-reference.md: status is required, the rest is optional.
_ASYNC_OPERATION = re.compile(
    r"/providers/[^/]+/locations/[^/]+/(operations|mfeOperationsStatus)/[^/]+", re.IGNORECASE
)
_ASYNC_RESULT = re.compile(
    r"/providers/[^/]+/locations/[^/]+/(mfeO|o)peration(Results|Statuses)/[^/]+", re.IGNORECASE
)
_ASYNC_BODY: Schema = {
    "type": "object",
    "$comment": "azure-resource-manager-rpc, async-api-reference",
    "properties": {
        "id": {"type": "string"},
        "name": {"type": "string"},
        "status": {"type": "string"},
        "startTime": {"type": "string", "format": "date-time"},
        "endTime": {"type": "string", "format": "date-time"},
        "percentComplete": {"type": "number", "minimum": 0, "maximum": 100},
        "properties": {"type": "object"},
        "error": {"type": "object", "required": ["code", "message"]},
    },
    "required": ["status"],
    "additionalProperties": False,
}
_ERROR_BODY: Schema = {
    "type": "object",
    "$comment": "azure-resource-manager-rpc, common-api-details: error response content",
    "properties": {"error": {"type": "object", "required": ["code", "message"]}},
    "required": ["error"],
}


class Contract:
    """Checks requests and answers; every method returns findings, an empty list meaning "as specified"."""

    def __init__(self, specs_dir: Path) -> None:
        gaps = Path(str(resources.files(__package__).joinpath("specs")))
        self._specs_dir = specs_dir
        self.routes = Routes(specs_dir, gaps)
        self._specs: dict[tuple[str, str, str], Spec | None] = {}
        self._schemas: dict[tuple[str, ...], Schema] = {}
        self.allowed: Counter[str] = Counter()  # findings let pass, by the name in contract_allow

    def covers(self, namespace: str) -> bool:
        return bool(self.routes.versions(namespace))

    def specifies(self, method: str, path: str, version: str) -> bool:
        return isinstance(self._find(method, path, version), Spec)

    def check_request(self, method: str, path: str, query: Mapping[str, str], body: Any) -> list[str]:
        """`query` as sent, with api-version. `body` is the decoded JSON, None if there was none."""
        if _is_async(method, path):
            return []
        spec = self._find(method, path, query.get("api-version", ""))
        if isinstance(spec, str):
            return [spec]
        findings = [*self._query_findings(spec, query), *self._body_findings(spec, method, path, body)]
        return self._without_allowed(spec.operation, findings)

    def check_response(
        self, method: str, path: str, query: Mapping[str, str], status: int, body: Any
    ) -> list[str]:
        if _is_async(method, path):
            return _async_findings(path, status, body)
        spec = self._find(method, path, query.get("api-version", ""))
        if isinstance(spec, str):
            # What cannot be found in a specification can only be refused, and a refusal has one form everywhere.
            return list(problems(_ERROR_BODY, body)) if status >= 400 else [spec]
        return self._without_allowed(
            spec.operation, list(self._answer_findings(spec, method, path, status, body))
        )

    def check_definition(self, file: str, name: str, body: Any) -> list[str]:
        """An answer of a service that is not behind ARM, held against `definitions/{name}` of a Swagger file.

        `file` is its path below the specifications. What such an old file does not know is let through.
        """
        key = (file, name)
        if key not in self._schemas:
            path = (self._specs_dir / file).resolve()
            definition = self.routes.documents.load(path)["definitions"][name]
            compiler = Compiler(self.routes.documents, "response", exact=False)
            self._schemas[key] = compiler.root(Node(path, definition, f"/definitions/{name}"))
        return list(problems(self._schemas[key], body))

    def _find(self, method: str, path: str, version: str) -> Spec | str:
        """The specification, or why there is none."""
        if not version:
            return f"{method} {path}: no api-version"
        key = (method.upper(), path.casefold(), version)
        if key not in self._specs:
            self._specs[key] = self.routes.find(method, path, version)
        spec = self._specs[key]
        if spec:
            return spec
        namespace = provider(path)
        known = ", ".join(self.routes.versions(namespace)) or "none"
        return f"{method} {path}: not specified for {namespace} {version} (specifications: {known})"

    def _query_findings(self, spec: Spec, query: Mapping[str, str]) -> Iterator[str]:
        declared = {
            each.value["name"].casefold(): each
            for each in self.parameters(spec.operation)
            if each.value.get("in") == "query"
        }
        given = {name.casefold(): value for name, value in query.items()}
        for name, value in given.items():
            if name == "api-version":
                continue
            if name not in declared:
                if spec.exact:
                    yield f"?{name}: not a parameter of {spec.operation.name} ({spec.operation.node})"
                continue
            wrong = _wrong_value(declared[name].value, value, exact=spec.exact)
            if wrong:
                yield f"?{name}: {wrong} ({declared[name]})"
        for name, parameter in declared.items():
            if parameter.value.get("required") and name not in given:
                yield f"?{name}: required by {spec.operation.name} ({parameter})"

    def _body_findings(self, spec: Spec, method: str, path: str, body: Any) -> Iterator[str]:
        parameter = next(
            (each for each in self.parameters(spec.operation) if each.value.get("in") == "body"), None
        )
        if parameter is None:
            if body not in (None, {}):
                yield f"$: {spec.operation.name} takes no body ({spec.operation.node})"
            return
        if body is None:
            if parameter.value.get("required"):
                yield f"$: {spec.operation.name} needs a body ({parameter})"
            return
        direction: Direction = "patch" if method.upper() == "PATCH" else "request"
        schema = self._schema(spec, direction, parameter.get("schema"), path, round_trip=_is_round_trip(body))
        yield from problems(schema, body)

    def _answer_findings(self, spec: Spec, method: str, path: str, status: int, body: Any) -> Iterator[str]:
        operation = spec.operation
        answers = operation.node.value.get("responses", {})
        documented = str(status) in answers
        if not documented and (status < 400 or "default" not in answers):
            if status >= 400:
                yield from problems(_ERROR_BODY, body)
                return
            yield f"status {status}: {operation.name} answers {', '.join(answers)} ({operation.node})"
            return
        answer = operation.node.get("responses", str(status) if documented else "default")
        assert answer is not None
        answer = self.routes.documents.follow(answer)
        schema_node = answer.get("schema")
        if schema_node is None or schema_node.value.get("type") == "file":
            if body not in (None, {}, "") and schema_node is None and status != 202:
                yield f"$: {operation.name} {status} has no body ({operation.node})"
            return
        if status in (202, 204) and body is None:
            return
        direction: Direction = "response"
        yield from problems(self._schema(spec, direction, schema_node, path), body)

    def _schema(
        self, spec: Spec, direction: Direction, node: Node | None, path: str, *, round_trip: bool = False
    ) -> Schema:
        if node is None:
            return {}
        # Listing secrets is what a POST is for (listKeys, listSecrets): only there may they be answered.
        allowed = {"secrets": spec.operation.method == "post", "round_trip": round_trip}
        types = f"{spec.bicep.file} {spec.bicep_exact}" if spec.bicep else ""
        key = (str(node.file), node.pointer, direction, f"{spec.exact} {allowed}", types)
        if key not in self._schemas:
            self._schemas[key] = self._compile(spec, direction, node, path, **allowed)
        return self._schemas[key]

    def _compile(
        self, spec: Spec, direction: Direction, node: Node, path: str, *, secrets: bool, round_trip: bool
    ) -> Schema:
        compiler = Compiler(
            self.routes.documents, direction, exact=spec.exact, secrets=secrets, round_trip=round_trip
        )
        body_of = self._resource_body(spec, node, path)
        if body_of is None:
            return compiler.root(node)
        assert spec.bicep is not None
        return body_of(
            spec.bicep.body(resource_type(path), direction, exact=spec.bicep_exact, round_trip=round_trip)
        )

    def _resource_body(self, spec: Spec, node: Node, path: str) -> Callable[[Schema], Schema] | None:
        """How a Bicep body fits here: as it is, as the items of a list, or not at all (None)."""
        if spec.bicep is None or spec.operation.method not in ("get", "put"):
            return None
        if not spec.bicep.has(resource_type(path)) or "/responses/default" in node.pointer:
            return None
        inner = self.routes.documents.follow(node)
        properties = inner.value.get("properties", {})
        if "value" in properties:
            return _as_list
        return (lambda body: body) if _names_a_resource(path) else None

    def parameters(self, operation: Operation) -> Iterator[Node]:
        """Every parameter of an operation, its references followed."""
        for index, value in enumerate(
            (*operation.shared_parameters, *operation.node.value.get("parameters", ()))
        ):
            pointer = f"{operation.node.pointer}/parameters/{index}"
            yield self.routes.documents.follow(Node(operation.node.file, value, pointer))

    def _without_allowed(self, operation: Operation, findings: list[str]) -> list[str]:
        kept = []
        for finding in findings:
            if entry := allowance(operation.name, finding):
                self.allowed[entry.name] += 1
            else:
                kept.append(finding)
        return kept


def _is_round_trip(body: Any) -> bool:
    """Is this what a GET answered, sent back with changes? ARM then ignores what is read-only in it."""
    if not isinstance(body, dict):
        return False
    properties = body.get("properties")
    return "id" in body or (isinstance(properties, dict) and "provisioningState" in properties)


def _is_async(method: str, path: str) -> bool:
    return method.upper() == "GET" and bool(_ASYNC_OPERATION.search(path) or _ASYNC_RESULT.search(path))


def _async_findings(path: str, status: int, body: Any) -> list[str]:
    if status >= 400:
        return list(problems(_ERROR_BODY, body))
    if _ASYNC_OPERATION.search(path):
        return list(problems(_ASYNC_BODY, body))
    return []  # an operation result is whatever the operation itself answers


def _as_list(body: Schema) -> Schema:
    definitions = body.pop("$defs")
    return {
        "type": "object",
        "properties": {"value": {"type": "array", "items": body}, "nextLink": {"type": ["string", "null"]}},
        "required": ["value"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def _names_a_resource(path: str) -> bool:
    _, _, tail = path.rpartition("/providers/")
    return tail.count("/") % 2 == 0


def _wrong_value(parameter: Mapping[str, Any], value: str, *, exact: bool) -> str:
    match parameter.get("type"):
        case "integer" if not re.fullmatch(r"-?\d+", value):
            return f"expected an integer, got {value!r}"
        case "boolean" if value.casefold() not in ("true", "false"):
            return f"expected true or false, got {value!r}"
    allowed = parameter.get("enum")
    if exact and allowed and value.casefold() not in (str(each).casefold() for each in allowed):
        return f"{value!r} is not one of {allowed}"
    return ""
