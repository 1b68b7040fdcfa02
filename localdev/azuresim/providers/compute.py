"""Microsoft.Compute: virtual machines, their run commands, disks, sizes and quotas.

Paths, statuses and bodies: ComputeRP virtualMachine.json, runCommand.json, computeRPCommon.json 2024-07-01, Skus
2021-07-01, DiskRP 2024-03-02.
"""

from __future__ import annotations

from localdev.azuresim.compute.disks import Disks
from localdev.azuresim.compute.offers import Offers
from localdev.azuresim.compute.run_commands import RunCommands
from localdev.azuresim.compute.virtual_machines import VirtualMachines
from localdev.azuresim.routing import Route
from localdev.azuresim.world import World


def routes(world: World) -> list[Route]:
    parts = (VirtualMachines(world), RunCommands(world), Disks(world), Offers(world))
    return [route for part in parts for route in part.routes()]
