"""Deployments for tests: declarations, versions that behave as told, and what a person does about them."""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

from shared.azure.ml_registry import register_version
from tests.support.estate import Declaration, Estate, Ran

CODE = "tests/support/bad_models"
HOURS = (1, 6, 11, 12, 17, 23)
INPUTS = ({"name": "distance", "type": "double"}, {"name": "hour", "type": "long"})
LOAD = {"requests": 20, "concurrency": 2, "p95": "PT3S"}
PATIENCE_S = 240


def deployment(name: str, **changes: Any) -> Declaration:
    """A small valid declaration of an endpoint on AKS; `changes` are merged into it, section by section."""
    base: Declaration = {
        "kind": "Deployment",
        "name": name,
        "model": {"name": f"{name}-model"},
        "target": {"platform": "aks", "endpoint": name, "compute": "aks-prod"},
        "resources": {"cpu": "500m", "memory": "512Mi", "maxConcurrent": 8},
        "scoring": {"code": CODE},
        "tests": {"load": LOAD},
        "rollout": {
            "steps": [10, 50, 100], "bake": "PT5M", "minRequests": 3, "maxP95RegressionPct": 1000,
            "inconclusiveAfter": "PT30M", "onInconclusive": "rollback", "hold": "PT24H", "keepFailed": "PT30M",
            "stageDeadline": "PT2H",
        },
        "approval": {"required": False, "timeout": "PT4H"},
        "limits": {"deadline": "PT12H"},
    }  # fmt: skip
    for section, values in changes.items():
        base[section] = {**base.get(section, {}), **values} if isinstance(values, Mapping) else values
    return base


def put_version(
    here: Estate,
    model: str,
    version: str,
    *,
    golden: bool = True,
    promised: str = "",
    **deeds: Any,
) -> None:
    """Store and register a version that does as `deeds` say (nothing: well), as a retraining would leave it.

    `golden`: its golden file holds the right answers, else any probability will do. `promised`: a digest that all
    records name in place of the file's own.
    """
    data = json.dumps({"deed": "good", "version": version, **deeds}).encode()
    goldens = "".join(json.dumps(_golden(hour, golden)) + "\n" for hour in HOURS).encode()
    _put(here, model, version, "deeds.json", data, {"golden.jsonl": goldens}, promised=promised)


def _put(
    here: Estate,
    model: str,
    version: str,
    file: str,
    data: bytes,
    more: Mapping[str, bytes],
    *,
    promised: str = "",
) -> None:
    models = here.service.get_container_client("models")
    sha256 = promised or hashlib.sha256(data).hexdigest()
    card = {
        "name": model, "version": version, "flavor": "sklearn", "file": file, "sha256": sha256,
        "size": len(data), "inputs": INPUTS, "output": {"name": "late_probability", "type": "double"},
        "keys": [], "metrics": {}, "trained": {},
    }  # fmt: skip
    run = f"train-{model}-{version}"
    prefix = f"{model}/{version}/"
    files = {
        file: data,
        "MODEL.json": json.dumps(card).encode(),
        "LINEAGE.json": json.dumps({"run": run, "sha256": sha256}).encode(),
        **more,
    }
    for name, content in files.items():
        models.upload_blob(prefix + name, content, overwrite=True)
    tags = {"run": run, "modelDigest": sha256, "causedBy": f"muster {run}"}
    register_version(model, version, container="models", prefix=prefix, tags=tags)


def put_model(here: Estate, model: str, version: str, estimator: Any) -> None:
    """Store and register a fitted scikit-learn model of `distance` and `hour`, as a retraining would leave it."""
    import joblib

    buffer = io.BytesIO()
    joblib.dump(estimator, buffer)
    _put(here, model, version, "model.joblib", buffer.getvalue(), {})


def _golden(hour: int, strict: bool) -> dict[str, Any]:
    import math

    value = 1 / (1 + math.exp((12 - hour) / 4))
    expect = {"value": round(value, 6), "tolerance": 0.01} if strict else {"min": 0, "max": 1}
    return {"input": {"distance": 100.0, "hour": hour}, "expect": expect}


def ask(here: Estate, endpoint: str, version: str, *, key: str = "", who: str = "default") -> Ran:
    """Ask for a version of the endpoint's model, as one of the people of the world."""
    status, answer = post(
        here, "deployments", who, {"workload": endpoint, "model": {"version": version}}, key=key
    )
    assert status == 202, answer
    return Ran(id=answer["id"], slot="")


def post(here: Estate, path: str, who: str, body: Any = None, *, key: str = "") -> tuple[int, Any]:
    headers = {"x-functions-key": here.world.keys[who], **({"Idempotency-Key": key} if key else {})}
    return here.world.api(path, method="POST", body={} if body is None else body, headers=headers)


def decide(here: Estate, run: Ran, decision: str, who: str = "approver", number: int = 0) -> tuple[int, Any]:
    """Approve or reject what the run asks, once it asks: the answer."""
    name = f"resume/{number}-request.json" if number else "approval-request.json"
    path = f"deployments/{run.id}/{name}"
    asked = calmly(lambda: here.read_json(here.state, path), f"{run.id} to ask a person")
    return post(here, f"deployments/{run.id}/{decision}", who, {"digest": asked["digest"]})


def finish(here: Estate, run: Ran, seconds: float = PATIENCE_S) -> Ran:
    """The run, over, with its report and its outcome. Its record is watched: many wait at once."""
    record = here.state.get_blob_client(f"runs/{run.id}/outcome.json")
    calmly(record.exists, f"{run.id} to end", seconds)

    def is_over() -> bool:
        status, run.report = here.world.api(f"deployments/{run.id}")
        return status == 200 and bool(run.report["over"])

    calmly(is_over, f"{run.id} to be over", seconds)
    run.report["outcome"] = here.read_json(here.state, f"runs/{run.id}/outcome.json")
    return run


def calmly(look: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> Any:
    """As `wait`, for what many wait for at once: twice a second."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.5)):
        if answer := look():
            return answer
        pause.wait(0.5)
    raise AssertionError(f"waited {seconds:.0f} s in vain for {what}")


def rows(distance: float = 500.0) -> dict[str, Any]:
    """What clients ask: every hour of the day."""
    return {"columns": ["distance", "hour"], "data": [[distance + hour, hour] for hour in range(24)]}
