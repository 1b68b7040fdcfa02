"""host.json, local.settings.json and `%SETTING%`: what an app says about the host that runs it."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localdev.runner.errors import AppError

_SETTING = re.compile(r"%([^%\s]+)%")
_TIMESPAN = re.compile(r"(?:(\d+)\.)?(\d{1,2}):(\d{2}):(\d{2})")
_PER_CORE = 10  # the Azure Storage provider's default: 10 concurrent functions of each kind per core


@dataclass(frozen=True)
class HostConfig:
    """The part of host.json that changes behaviour on one machine."""

    route_prefix: str = "api"
    hub_name: str = "TestHubName"
    function_timeout_s: float = 1800.0  # Flex Consumption's default; host.json's -1 is infinity
    max_activities: int = _PER_CORE * (os.cpu_count() or 1)
    max_orchestrators: int = _PER_CORE * (os.cpu_count() or 1)
    max_entities: int = _PER_CORE * (os.cpu_count() or 1)


def read_host_config(app_dir: Path, environment: Mapping[str, str]) -> HostConfig:
    """Raises AppError when host.json is missing, unreadable or not version 2.0, as the real host does."""
    path = app_dir / "host.json"
    if not path.is_file():
        raise AppError(f"{path} not found: the Functions host needs a host.json beside the app")
    document = _read_json_object(path)
    if document.get("version") != "2.0":
        raise AppError(f'{path}: "version" must be "2.0", found {document.get("version")!r}')
    extensions = document.get("extensions", {})
    durable = extensions.get("durableTask", {})
    defaults = HostConfig()
    return HostConfig(
        route_prefix=str(extensions.get("http", {}).get("routePrefix", defaults.route_prefix)).strip("/"),
        hub_name=resolve_settings(
            str(durable.get("hubName", defaults.hub_name)), environment, "host.json hubName"
        ),
        function_timeout_s=_timeout_s(document.get("functionTimeout"), defaults.function_timeout_s, path),
        max_activities=int(durable.get("maxConcurrentActivityFunctions", defaults.max_activities)),
        max_orchestrators=int(durable.get("maxConcurrentOrchestratorFunctions", defaults.max_orchestrators)),
        max_entities=int(durable.get("maxConcurrentEntityFunctions", defaults.max_entities)),
    )


def read_local_settings(app_dir: Path) -> dict[str, str]:
    """`Values` of local.settings.json, empty without the file. The caller must not let them override what is set."""
    path = app_dir / "local.settings.json"
    if not path.is_file():
        return {}
    document = _read_json_object(path)
    if document.get("IsEncrypted"):
        raise AppError(f"{path} is encrypted; run `func settings decrypt` first")
    values = document.get("Values") or {}
    return {str(name): str(value) for name, value in values.items() if value is not None}


def resolve_settings(text: str, environment: Mapping[str, str], where: str) -> str:
    """Replace every `%NAME%` by the setting NAME; AppError names the setting that is missing and who asked for it."""

    def setting(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in environment:
            raise AppError(f"{where}: '%{name}%' does not resolve to a value, there is no setting {name}")
        return environment[name]

    return _SETTING.sub(setting, text)


def _timeout_s(text: object, default: float, path: Path) -> float:
    if text is None:
        return default
    if str(text) == "-1":
        return math.inf
    match = _TIMESPAN.fullmatch(str(text))
    if match is None:
        raise AppError(f'{path}: "functionTimeout" must be hh:mm:ss or -1, found {text!r}')
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def _read_json_object(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise AppError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise AppError(f"{path} must hold a JSON object")
    return document
