"""What the test world is deployed with: a workload per scenario, so that scenarios share nothing but the app."""

from __future__ import annotations

from tests.events.retrainings import retraining
from tests.support.drifts import drift_monitor
from tests.support.estate import Declaration, declaration

TWO_REGIONS = {"regions": ["westeurope", "northeurope"], "sizes": ["Standard_D2s_v5"]}

CLUSTER = {"platform": "amlcompute", "sizes": ["Standard_D2s_v5"], "instances": 3}
# Simulated time passes while an app that was killed starts again.
LONG = {"deadline": "PT20H", "ttl": "PT22H"}

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
    declaration("plain-cluster", compute=CLUSTER),
    declaration(
        "alike-cluster",
        input={"prefix": "alike/", "watermark": "none"},
        compute=CLUSTER,
        fanout={"maxShards": 6},
    ),
    declaration(
        "alike-local",
        input={"prefix": "alike/", "watermark": "none"},
        compute={"platform": "local"},
        fanout={"maxShards": 6},
    ),
    declaration("alike-dsvm", input={"prefix": "alike/", "watermark": "none"}, fanout={"maxShards": 6}),
    declaration(
        "node-preempted",
        input={"prefix": "alike/", "watermark": "none"},
        compute={**CLUSTER, "priority": "spot"},
        fanout={"maxShards": 6},
    ),
    declaration("node-lost", compute=CLUSTER),
    declaration("no-low-priority", compute={**CLUSTER, "priority": "spot-then-dedicated"}),
    declaration("no-node-comes", compute={**CLUSTER, "priority": "spot-then-dedicated"}),
    declaration("cluster-fails", compute={**CLUSTER, **TWO_REGIONS}),
    declaration("cluster-cancelled", compute=CLUSTER),
    declaration("cluster-terminated", compute=CLUSTER),
    declaration("job-fails-on-a-node", compute=CLUSTER),
    declaration("killed-dsvm", input={"prefix": "killed/", "watermark": "none"}, limits=LONG),
    declaration(
        "killed-local",
        input={"prefix": "killed/", "watermark": "none"},
        compute={"platform": "local"},
        limits=LONG,
    ),
    drift_monitor(
        "winter-summer",
        reference={"oldest": 7},
        target={"newest": 7},
        threshold=0.03,
        features=["carrier", "origin", "dest", "distance", "hour", "late"],
    ),
    drift_monitor("steady", compute={"platform": "dsvm", "sizes": ["Standard_D2s_v5"]}),
    # What its run trains with is not there: it ends before anything is bought.
    retraining(
        "drift-answered",
        monitor="winter-summer",
        training={"code": "workloads/unheard-of"},
        trigger={"threshold": 0.05, "hysteresis": 0.01},
        data={"prefix": "winter-summer/"},
    ),
    declaration("hourly", schedule={"every": "PT1H", "anchor": "2026-01-01T00:00:00Z"}),
]
