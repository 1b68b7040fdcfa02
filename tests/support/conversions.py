"""Conversions for tests: a declaration, and what a machine could have found."""

from __future__ import annotations

from typing import Any

from shared.domain.conversion import Conversion, ConversionRecord

MODEL_SHA256 = "b" * 64


def conversion(**changes: Any) -> dict[str, Any]:
    """A small valid declaration; `changes` are merged into it, section by section."""
    base: dict[str, Any] = {
        "to": "onnx",
        "parity": {"sample": {"container": "landing", "prefix": "flights/", "newest": 2}, "minRows": 50},
        "compute": {"platform": "dsvm", "regions": ["westeurope"]},
    }
    for section, values in changes.items():
        base[section] = {**base.get(section, {}), **values} if isinstance(values, dict) else values
    return base


def parsed(**changes: Any) -> Conversion:
    return Conversion.model_validate(conversion(**changes))


def found(run: str = "deploy-r", *, sha256: str = "c" * 64, size: int = 7, **changes: Any) -> dict[str, Any]:
    """A record as an agent leaves it, of a conversion that went well."""
    latency = {"single_ms": 1.0, "batch_ms": 9.0}
    return {
        "to": "onnx", "model_sha256": MODEL_SHA256, "rows": 500, "rows_left_out": 3, "not_finite": 0,
        "file": {"blob": f"runs/{run}/conversion/c.onnx", "sha256": sha256, "size": size},
        "max_abs_difference": 2e-7, "mean_abs_difference": 1e-8, "label_flips": 0, "threshold": 0.5,
        "size_before": 900, "original": latency, "converted": latency, "batch_rows": 500, "precision": "double",
        "opsets": {"": 21, "ai.onnx.ml": 5}, "versions": {"onnx": "1.23.2"}, **changes,
    }  # fmt: skip


def record(**changes: Any) -> ConversionRecord:
    return ConversionRecord.model_validate(found(**changes))
