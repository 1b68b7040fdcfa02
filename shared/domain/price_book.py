"""What machines cost: sizes a user would pick, where they are sold, and for how much.

Figures are single facts of the Azure Retail Prices API, in USD per hour of one Linux machine: westeurope, northeurope,
francecentral and swedencentral of 2026-08-22 (andy-diericks/azure-pricing-radar), eastus of 2026-05-20
(anycloud-sh/catalog). They choose between offers and keep a run within its budget; the invoice is Azure's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache

from shared.domain.errors import SpecError
from shared.domain.offers import Offer, Priority

HOURS_PER_MONTH = 730  # how Azure turns a monthly price into an hourly one

# The OS disk of a DSVM: 150 GiB StandardSSD_LRS is billed as tier E15, until it is deleted, also while the machine is
# deallocated. USD 19.20 a month, East US, 2024 (azure.microsoft.com/pricing/details/managed-disks); it differs little
# from region to region.
OS_DISK_USD_PER_HOUR = 19.20 / HOURS_PER_MONTH

# A row: size without its "Standard_", vCPUs, GPUs, then pay-as-you-go/spot per region; "-" is not sold. "#" names the
# quota family of the rows below it, as Microsoft.Compute usages spell it.
_TABLE = """
size             vcpus gpu         westeurope     northeurope    francecentral   swedencentral    eastus
# standardBSFamily
B2ms             2     -           0.096/-        0.091/-        0.0944/-        0.0864/-         0.0832/-
B4ms             4     -           0.192/-        0.182/-        0.189/-         0.173/-          0.166/-
# standardDSv3Family
D2s_v3           2     -           0.12/0.022176  0.107/0.019774 0.112/0.020698  0.102/0.018829   0.096/0.018451
D4s_v3           4     -           0.24/0.044352  0.214/0.039547 0.224/0.041395  0.204/0.037658   0.192/0.036902
D8s_v3           8     -           0.48/0.088704  0.428/0.079094 0.448/0.08279   0.408/0.075317   0.384/0.073805
# standardDSv5Family
D2s_v5           2     -           0.115/0.021252 0.107/0.034197 0.112/0.020698  0.102/0.01885    0.096/0.020362
D4s_v5           4     -           0.23/0.042504  0.214/0.068394 0.224/0.041395  0.204/0.037699   0.192/0.040723
D8s_v5           8     -           0.46/0.085008  0.428/0.136789 0.448/0.08279   0.408/0.075398   0.384/0.081446
D16s_v5          16    -           0.92/0.170016  0.856/0.273578 0.896/0.165581  0.816/0.150797   0.768/0.162893
D32s_v5          32    -           1.84/0.340032  1.712/0.547155 1.792/0.331162  1.632/0.301594   1.536/0.325786
# standardDSv2Family
DS2_v2           2     -           0.136/0.025133 0.132/0.024394 0.175/0.03234  0.136/0.025133  0.146/0.028061
DS3_v2           4     -           0.272/0.050266 0.263/0.048602 0.351/0.064865 0.272/0.050266  0.293/0.056315
DS4_v2           8     -           0.544/0.100531 0.527/0.09739  0.702/0.12973  0.544/0.100531  0.585/0.112437
DS5_v2           16    -           1.087/0.200878 1.053/0.194594 1.404/0.259459 1.087/0.200878  1.17/0.224874
# standardDASv5Family
D2as_v5          2     -           0.104/0.019219 0.096/0.017741 0.101/0.018665  0.092/0.017002   0.086/0.018705
D4as_v5          4     -           0.208/0.038438 0.192/0.035482 0.202/0.03733   0.184/0.034003   0.172/0.03741
D8as_v5          8     -           0.416/0.076877 0.384/0.070963 0.404/0.074659  0.368/0.068006   0.344/0.07482
# standardESv5Family
E2s_v5           2     -           0.152/0.02809  0.141/0.048264 0.148/0.02735   0.134/0.025299   0.126/0.028325
E4s_v5           4     -           0.304/0.056179 0.282/0.096529 0.296/0.054701  0.268/0.050598   0.252/0.05665
E8s_v5           8     -           0.608/0.112358 0.564/0.193057 0.592/0.109402  0.536/0.101197   0.504/0.113299
E16s_v5          16    -           1.216/0.224717 1.128/0.386114 1.184/0.218803  1.072/0.202394   1.008/0.226598
# standardFSv2Family
F2s_v2           2     -           0.097/0.017926 0.096/0.026688 0.101/0.018665  0.097/0.017926   0.0846/0.023586
F4s_v2           4     -           0.194/0.035851 0.192/0.053376 0.202/0.03733   0.194/0.035851   0.169/0.047117
F8s_v2           8     -           0.388/0.071702 0.384/0.106752 0.404/0.074659  0.388/0.071702   0.338/0.094234
F16s_v2          16    -           0.776/0.143405 0.768/0.213504 0.808/0.149318  0.776/0.143405   0.677/0.188748
# Standard NCASv3_T4 Family
NC4as_T4_v3      4     1xT4        0.658/0.457113 0.587/0.195941 0.615/0.17835   0.558/0.16182    0.526/0.204246
NC8as_T4_v3      8     1xT4        0.94/0.653018  0.838/0.279724 0.878/0.25462   0.796/0.23084    0.752/0.292002
NC16as_T4_v3     16    1xT4        1.505/1.080138 1.342/0.87485  1.407/0.40803   1.276/0.37004    1.204/0.467513
NC64as_T4_v3     64    4xT4        5.44/3.904288  4.853/3.163671 5.077/1.47233   4.603/1.33487    4.352/1.689882
# StandardNCADSA100v4Family
NC24ads_A100_v4  24    1xA100-80GB 4.775/1.097295 4.408/0.814598 4.591/0.848417  4.775/1.464492   3.673/0.746721
NC48ads_A100_v4  48    2xA100-80GB 9.55/2.19459   8.815/1.629012 9.183/1.697018  9.55/2.928985    7.346/1.493442
NC96ads_A100_v4  96    4xA100-80GB 19.1/4.38918   17.63/3.258024 18.365/3.393852 19.1/5.85797     14.692/2.986884
# StandardNCadsH100v5Family
NC40ads_H100_v5  40    1xH100      9.08/8.172     8.376/1.547885 -               9.074/5.226624   6.98/2.192418
NC80adis_H100_v5 80    2xH100      18.16/16.344   16.752/3.09577 -               18.148/10.453248 13.96/4.384836
"""

# Families that Azure ML keeps managed online endpoints on, of those above (learn.microsoft.com/azure/machine-learning/
# reference-managed-online-endpoints-vm-sku-list). An instance costs what the machine costs; there is no Spot.
_MANAGED = (
    "standardDSv2Family",
    "standardFSv2Family",
    "Standard NCASv3_T4 Family",
    "StandardNCADSA100v4Family",
    "StandardNCadsH100v5Family",
)
# Azure ML wants quota for so many times the instances, to replace them when it updates (same page's quota note).
MANAGED_RESERVE = 1.2

# What `compute.priority` allows, in the order it is tried.
PRIORITIES = {
    "dedicated": (Priority.REGULAR,),
    "spot": (Priority.SPOT,),
    "spot-then-dedicated": (Priority.SPOT, Priority.REGULAR),
}


@dataclass(frozen=True)
class Price:
    """USD per hour. None where the size is not sold at that priority."""

    dedicated: float | None = None
    spot: float | None = None

    def of(self, priority: Priority) -> float | None:
        return self.spot if priority is Priority.SPOT else self.dedicated


@dataclass(frozen=True)
class Size:
    name: str
    family: str
    vcpus: int
    gpu: str  # "1xT4"; "" without
    prices: dict[str, Price]


@cache
def sizes() -> dict[str, Size]:
    """Every size of the book, by name, in its order."""
    header, *lines = _TABLE.strip().splitlines()
    regions = header.split()[3:]
    found: dict[str, Size] = {}
    family = ""
    for line in lines:
        if line.startswith("#"):
            family = line.removeprefix("# ")
            continue
        name, vcpus, gpu, *prices = line.split()
        found[f"Standard_{name}"] = Size(
            name=f"Standard_{name}",
            family=family,
            vcpus=int(vcpus),
            gpu=gpu.strip("-"),
            prices=dict(zip(regions, map(_price, prices), strict=True)),
        )
    return found


def regions() -> tuple[str, ...]:
    """The regions whose prices are known."""
    return tuple(next(iter(sizes().values())).prices)


def find_size(name: str) -> Size:
    """The size called `name`, in any case. Raises SpecError naming sizes that look like it."""
    by_lower = {known.lower(): size for known, size in sizes().items()}
    found = by_lower.get(name.lower()) or by_lower.get(f"standard_{name.lower()}")
    if found:
        return found
    near = get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    hint = f"; did you mean {', '.join(by_lower[n].name for n in near)}" if near else ""
    raise SpecError(f"{name!r} is not a size with a known price{hint}; sizes: {', '.join(sizes())}")


def offers_for(
    size_names: Sequence[str], region_names: Sequence[str], priority: str = "dedicated"
) -> tuple[Offer, ...]:
    """Every offer a declaration allows, in the order it is to be tried: priority, then region, then size.

    offers_for([D4s_v5, E4s_v5], [westeurope, northeurope], "spot-then-dedicated") -> D4s and E4s as Spot in westeurope,
    the same in northeurope, then all four again as dedicated. Another size near the data is tried before another region.
    Raises SpecError for an unknown size, region or priority, and when nothing of it is sold.
    """
    if priority not in PRIORITIES:
        raise SpecError(f"compute.priority {priority!r}: expected one of {', '.join(PRIORITIES)}")
    wanted = [find_size(name) for name in size_names]
    places = [_find_region(name) for name in region_names]
    offers = tuple(
        Offer(
            size=size.name,
            region=place,
            priority=each,
            vcpus=size.vcpus,
            price_usd_per_hour=price,
            disk_usd_per_hour=OS_DISK_USD_PER_HOUR,
        )
        for each in PRIORITIES[priority]
        for place in places
        for size in wanted
        if (price := size.prices[place].of(each)) is not None
    )
    if not offers:
        raise SpecError(
            f"none of {', '.join(size_names)} is sold as {priority} in {', '.join(region_names)} "
            "(burstable B sizes cannot be Spot)"
        )
    return offers


def managed_offer(size_name: str, region_name: str) -> Offer:
    """One instance of a managed online endpoint. Raises SpecError for a size that Azure ML serves nothing on."""
    size, region = find_size(size_name), _find_region(region_name)
    price = size.prices[region].dedicated
    if size.family not in _MANAGED or price is None:
        sold = (
            each for each in sizes().values() if each.family in _MANAGED and each.prices[region].dedicated
        )
        raise SpecError(
            f"{size.name} is no size for a managed endpoint in {region}; there are: "
            f"{', '.join(each.name for each in sold)}"
        )
    return Offer(
        size=size.name, region=region, priority=Priority.REGULAR, vcpus=size.vcpus, price_usd_per_hour=price
    )


def _find_region(name: str) -> str:
    region = name.lower().replace(" ", "")
    if region not in regions():
        raise SpecError(f"{name!r} is not a region with known prices; there are: {', '.join(regions())}")
    return region


def _price(text: str) -> Price:
    dedicated, _, spot = text.partition("/")
    return Price(*(float(part) if part.strip("-") else None for part in (dedicated, spot)))
