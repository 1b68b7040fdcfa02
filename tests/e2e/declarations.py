"""What the test world is deployed with: a workload per scenario, so that scenarios share nothing but the app."""

from __future__ import annotations

from tests.support.estate import Declaration, declaration

TWO_REGIONS = {"regions": ["westeurope", "northeurope"], "sizes": ["Standard_D2s_v5"]}

DECLARATIONS: list[Declaration] = [
    declaration("plain-dsvm"),
    declaration("plain-local", compute={"platform": "local"}),
    declaration("same-dsvm", input={"prefix": "same/", "watermark": "none"}),
    declaration("same-local", input={"prefix": "same/", "watermark": "none"}, compute={"platform": "local"}),
    declaration("two-machines", compute={"instances": 2}),
    declaration("nothing-new"),
    declaration("no-container", input={"container": "absent-container"}),
    declaration("no-model", model={"name": "unheard-of"}),
    declaration("bad-model", model={"version": "9"}),
    declaration("poison", fanout={"minSuccessRatio": 0.5}),
    declaration("too-much-poison"),
    declaration("quota-zero", compute=TWO_REGIONS),
    declaration("no-quota-anywhere"),
    declaration("too-dear", limits={"budgetUsd": 0.01}),
    declaration("sku-absent", compute=TWO_REGIONS),
    declaration("no-allocation", compute=TWO_REGIONS),
    declaration("never-boots"),
    declaration("script-fails"),
    declaration("script-hangs", limits={"deadline": "PT20M"}),
    declaration("vanishes"),
    declaration("delete-refused"),
    declaration("nic-stays"),
    declaration("answer-lost"),
    declaration("cancelled"),
    declaration("terminated"),
    declaration("evicted", compute={"priority": "spot-then-dedicated", "sizes": ["Standard_D2s_v5"]}),
    declaration("watermarked"),
    declaration("hourly", schedule={"every": "PT1H", "anchor": "2026-01-01T00:00:00Z"}),
]
