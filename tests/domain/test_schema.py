"""Editors are given the schema of the declarations that this app takes."""

from __future__ import annotations

import json

import jsonschema
import yaml

from shared.domain.workload import parse_workload
from shared.platforms import with_machines
from shared.schema import FILE, schema_text


def test_the_schema_in_the_repository_is_not_stale() -> None:
    assert FILE.read_text(encoding="utf-8") == schema_text(), "run: python -m shared.schema"


def test_the_deployed_declarations_are_valid_by_parser_and_schema() -> None:
    files = sorted((FILE.parents[2] / "workloads").glob("*.yaml"))
    assert files
    for file in files:
        text = file.read_text(encoding="utf-8")
        parse_workload(text, source=file.name, platforms=with_machines())
        jsonschema.validate(yaml.safe_load(text), json.loads(FILE.read_text(encoding="utf-8")))
