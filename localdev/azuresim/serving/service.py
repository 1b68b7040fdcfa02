"""Everything that serves: launched and routed by the control plane, on the event loop only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from localdev.azuresim.serving.models import Health, Kind, ServedModel


class Serving:
    """`endpoint` is its name or its ARM id throughout: names are unique in a region.

    Nothing here outlives the simulator's process: whoever loads a saved world launches and routes anew.
    """

    def launch(self, endpoint: str, deployment: str, served: ServedModel) -> None:
        """Start the instances of a deployment and return at once; one of that name that runs is replaced."""
        raise NotImplementedError

    def state(self, endpoint: str, deployment: str) -> Health:
        """How it is now. `crash_loop` and `out_of_memory` may still become `running`: there are restarts."""
        raise NotImplementedError

    def logs(self, endpoint: str, deployment: str, lines: int = 200) -> str:
        """The end of what the deployment's servers wrote; "" for one that was never launched."""
        raise NotImplementedError

    def stop(self, endpoint: str, deployment: str) -> None:
        """End its processes, without waiting for its requests. Safe to repeat."""
        raise NotImplementedError

    def route(
        self,
        endpoint: str,
        weights: Mapping[str, int],
        keys: Sequence[str] = (),
        *,
        kind: Kind = "kubernetes",
    ) -> None:
        """Answer for the endpoint from now on, by these weights; requests that are under way end where they are.

        A request is let in by one of `keys`, or by a token for https://ml.azure.com. `kind` decides how failures of a
        model look to the client: 502, 503 and 504 of azureml-fe, or 424, 429 and 408 of a managed endpoint.
        """
        raise NotImplementedError

    def forget(self, endpoint: str) -> None:
        """Stop every deployment and answer no more. Safe to repeat."""
        raise NotImplementedError
