"""Muster: musters machines when there is machine-learning work, dismisses them the moment it is done. No logic here."""

import azure.durable_functions as df
import azure.functions as func

from activities import compute, data, jobs, leases, registry
from orchestrators import score, upkeep
from shared.triggers import http, timers

app = df.DFApp(http_auth_level=func.AuthLevel.FUNCTION)

app.register_functions(http.bp)
app.register_functions(timers.bp)
app.register_functions(score.bp)
app.register_functions(upkeep.bp)
app.register_functions(compute.bp)
app.register_functions(jobs.bp)
app.register_functions(data.bp)
app.register_functions(registry.bp)
app.register_functions(leases.bp)
