"""Names of what the steps of a conversion leave for each other."""

from __future__ import annotations

SPECIFICATION = "specification.json"
MODEL = "model.onnx"
PREDICTED = "predictions.f64"  # the original's, one little-endian double for each row of the sample
CONVERTED = "converted.json"
COMPARED = "compared.json"
