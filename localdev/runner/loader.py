"""Loading and indexing an app through the worker library that Azure runs.

`azure-functions-runtime` normally speaks protobuf with the host. It only needs three message classes to index an app,
so three plain records stand in for them.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from localdev.runner.errors import AppError

ENTRY_MODULE = "function_app"
_RESERVED_ROUTES = ("admin", "runtime")


@dataclass(frozen=True)
class RetryPolicy:
    """`@app.retry`: honoured for timer triggers, as on Azure. `max_retries` -1 means for ever."""

    max_retries: int
    exponential: bool
    delay: timedelta
    longest: timedelta


@dataclass(frozen=True)
class Function:
    """One indexed function: its trigger and other bindings as the decorators wrote them, and the worker's own record."""

    name: str
    trigger: Mapping[str, Any]
    bindings: tuple[Mapping[str, Any], ...]  # without the trigger
    info: Any  # azure_functions_runtime.functions.FunctionInfo
    retry: RetryPolicy | None = None

    @property
    def trigger_type(self) -> str:
        return str(self.trigger["type"])

    @property
    def durable_name(self) -> str:
        """The name under which orchestrators call it: the trigger may rename the function."""
        for attribute in ("orchestration", "activity", "entity_name", "entityName"):
            if self.trigger.get(attribute):
                return str(self.trigger[attribute])
        return self.name


class _Record:
    """Plays any protobuf message: keeps what it is given."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


class _BindingInfo(_Record):
    out, inout, undefined = 1, 2, None


_PROTOS = SimpleNamespace(BindingInfo=_BindingInfo, RpcFunctionMetadata=_Record, RpcRetryOptions=_Record)


def load_app(app_dir: Path) -> list[Function]:
    """Import `function_app` from `app_dir` and index it. Raises AppError with the reason Azure would log.

    An entry module that this process imported before is imported anew: a FunctionApp can be indexed only once.
    """
    if not (app_dir / f"{ENTRY_MODULE}.py").is_file():
        raise AppError(
            f"{app_dir / ENTRY_MODULE}.py not found: only the Python v2 (decorator) model runs here"
        )
    sys.modules.pop(ENTRY_MODULE, None)
    if sys.path[0] != str(app_dir):
        sys.path.insert(0, str(app_dir))
    importlib.invalidate_caches()
    try:
        return _index(_import_entry(app_dir), app_dir)
    except AppError:
        raise
    except Exception as error:  # whatever it is, it is the app's fault
        raise AppError(_describe(error, app_dir)) from error


def _import_entry(app_dir: Path) -> ModuleType:
    module = importlib.import_module(ENTRY_MODULE)
    origin = Path(str(module.__file__)).resolve().parent
    if origin != app_dir.resolve():
        raise AppError(f"{ENTRY_MODULE} was imported from {origin}, not from {app_dir}")
    return module


def _index(module: ModuleType, app_dir: Path) -> list[Function]:
    from azure_functions_runtime import loader
    from azure_functions_runtime.bindings.meta import load_binding_registry
    from azure_functions_runtime.functions import Registry

    load_binding_registry()
    indexed = _function_app(module).get_functions()
    if not indexed:
        raise AppError(f"{ENTRY_MODULE}.py declares no functions")
    registry = Registry()
    metadata, _ = loader.process_indexed_function(_PROTOS, registry, indexed, str(app_dir))
    functions = [
        _function(function, record, registry.get_function(record.function_id))
        for function, record in zip(indexed, metadata, strict=True)
    ]
    _refuse_conflicting_routes(functions)
    return functions


def _function_app(module: ModuleType) -> Any:
    from azure.functions import FunctionRegister

    apps = {id(v): v for v in vars(module).values() if isinstance(v, FunctionRegister)}
    if len(apps) != 1:
        found = "no function app" if not apps else f"{len(apps)} function apps"
        raise AppError(f"{ENTRY_MODULE}.py defines {found} at its top level; exactly one is needed")
    return next(iter(apps.values()))


def _function(indexed: Any, record: Any, info: Any) -> Function:
    bindings = [b.get_dict_repr() for b in indexed.get_bindings()]
    trigger = indexed.get_trigger().get_dict_repr()
    others = tuple(b for b in bindings if b["name"] != trigger["name"])
    return Function(info.name, trigger, others, info, _retry_policy(record.retry_options))


def _retry_policy(options: Any) -> RetryPolicy | None:
    if options is None:
        return None
    if options.retry_strategy == "fixed_delay":
        delay = longest = options.delay_interval
    else:
        delay, longest = options.minimum_interval, options.maximum_interval
    return RetryPolicy(options.max_retry_count, options.retry_strategy != "fixed_delay", delay, longest)


def _refuse_conflicting_routes(functions: list[Function]) -> None:
    """The rules of the host's ScriptHost.ValidateFunction: same route text and overlapping methods conflict."""
    seen: list[tuple[str, frozenset[str], str]] = []
    for function in functions:
        if function.trigger_type != "httpTrigger":
            continue
        route = str(function.trigger.get("route") or function.name).strip("/").lower()
        if route.startswith(_RESERVED_ROUTES):
            raise AppError(
                f"function '{function.name}': the specified route conflicts with one or more built in routes "
                f"({route!r} begins with {' or '.join(_RESERVED_ROUTES)})"
            )
        methods = http_methods(function)
        for other_route, other_methods, other in seen:
            if route == other_route and (not methods or not other_methods or methods & other_methods):
                raise AppError(
                    f"function '{function.name}': the route specified conflicts with the route defined by "
                    f"function '{other}' ({route!r})"
                )
        seen.append((route, methods, function.name))


def http_methods(function: Function) -> frozenset[str]:
    """Upper case; empty means every method."""
    return frozenset(str(getattr(m, "value", m)).upper() for m in function.trigger.get("methods") or ())


def _describe(error: Exception, app_dir: Path) -> str:
    """`what went wrong` and the last line of the app's own code that led there."""
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(app_dir)
    ]
    if isinstance(error, SyntaxError) and error.filename:
        where = f" (at {error.filename}:{error.lineno})"
    else:
        where = f" (at {frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"
