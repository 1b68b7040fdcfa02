"""The data plane of online endpoints: servers that score, the router before them, and what is measured of both."""

from localdev.azuresim.serving.models import BlobFolder, Health, Phase, ServedModel
from localdev.azuresim.serving.service import Serving

__all__ = ["BlobFolder", "Health", "Phase", "ServedModel", "Serving"]
