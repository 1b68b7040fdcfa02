"""Muster: musters machines when there is machine-learning work, dismisses them the moment it is done. No logic here."""

import azure.durable_functions as df
import azure.functions as func

from shared.durable.index import activities, orchestrators
from shared.triggers import events, http, timers

app = df.DFApp(http_auth_level=func.AuthLevel.FUNCTION)

app.register_functions(http.bp)
app.register_functions(timers.bp)
app.register_functions(events.bp)
app.register_functions(orchestrators("orchestrators.score", "score_batch", "score_shards"))
app.register_functions(orchestrators("orchestrators.upkeep", "reap_leases"))
app.register_functions(orchestrators("orchestrators.retrain", "retrain", "evaluate_models"))
app.register_functions(orchestrators("orchestrators.training", "train_trials", "train_chunk"))
app.register_functions(orchestrators("orchestrators.units", "evaluate_units", "evaluate_unit_chunk"))
app.register_functions(orchestrators("orchestrators.drift", "measure_drift", "measure_features"))
app.register_functions(orchestrators("orchestrators.events", "consider_event"))
app.register_functions(orchestrators("orchestrators.deploy", "deploy_model"))
app.register_functions(orchestrators("orchestrators.conversion", "convert_model"))
app.register_functions(orchestrators("orchestrators.rollback", "roll_back"))
app.register_functions(orchestrators("orchestrators.tend", "tend_endpoints"))
app.register_functions(
    activities(
        "activities.compute", "check_headroom", "begin_provision", "observe_machine", "begin_release", "begin_delete",
        "observe_release", "confirm_release",
    )
)  # fmt: skip
app.register_functions(
    activities("activities.jobs", "submit_job", "observe_job", "observe_jobs", "cancel_job")
)
app.register_functions(
    activities(
        "activities.data", "freeze_inputs", "write_job", "publish_scores", "discard_scores", "record_outcome"
    )
)
app.register_functions(activities("activities.registry", "read_model", "register_model"))
app.register_functions(
    activities("activities.training", "freeze_data", "plan_trials", "write_train_job", "read_results")
)
app.register_functions(
    activities("activities.sweeps", "write_sweep", "submit_sweep", "observe_sweep", "close_sweep")
)
app.register_functions(
    activities("activities.judging", "write_evaluation_job", "judge_models", "record_retraining")
)
app.register_functions(
    activities(
        "activities.units", "check_units", "write_unit_evaluation_job", "judge_units", "claim_units_version",
        "copy_units", "register_units",
    )
)  # fmt: skip
app.register_functions(
    activities(
        "activities.drift", "freeze_comparison", "write_drift_job", "read_measurement", "report_drift", "record_drift"
    )
)  # fmt: skip
app.register_functions(
    activities("activities.events", "read_event_truth", "decide_retraining", "close_event")
)
app.register_functions(activities("activities.notices", "publish_notice"))
app.register_functions(activities("activities.probes", "run_probe"))
app.register_functions(
    activities("activities.conversion", "prepare_conversion", "write_convert_job", "keep_conversion")
)
app.register_functions(activities("activities.profiling", "record_profile"))
app.register_functions(
    activities(
        "activities.endpoints", "hold_endpoint", "save_last_good", "commit_rollout", "free_endpoint", "set_traffic",
        "list_lost_rollouts", "retire_deployment",
    )
)  # fmt: skip
app.register_functions(
    activities(
        "activities.serving", "check_lineage", "plan_deployment", "check_target", "read_endpoint", "begin_endpoint",
        "begin_deployment", "observe_deployment", "read_serving_logs", "begin_deletion",
    )
)  # fmt: skip
app.register_functions(
    activities(
        "activities.approvals", "ask_approval", "read_approval", "read_step", "record_step", "record_deployment",
    )
)  # fmt: skip
app.register_functions(
    activities(
        "activities.leases", "open_lease", "close_lease", "settle_lease", "list_leases", "remove_resource",
        "record_cost", "write_audit",
    )
)  # fmt: skip
