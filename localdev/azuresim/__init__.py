"""Azure on one machine: real SDKs talk to it through a proxy and do not know. See simulator.py for the whole."""

from __future__ import annotations

from localdev.azuresim.control import Control, ControlError
from localdev.azuresim.simulator import Simulator

__all__ = ["Control", "ControlError", "Simulator"]
