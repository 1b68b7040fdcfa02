"""The entry script of a deployment: it lies beside the package `node`, and Azure ML's server loads it by its path."""

import sys
from pathlib import Path

sys.path.insert(
    0, str(Path(__file__).resolve().parent)
)  # the server appends it: another `node` could come first

from node.serving.script import init, run

__all__ = ["init", "run"]
