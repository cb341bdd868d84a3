"""The rows of `scripts/chaos`: each a fault, what is done meanwhile, and what must come of it."""

from airflow_acts import (
    FEW,
    MAPPED,
    clear,
    clear_after_success,
    clear_the_dag_run,
    clear_under_a_new_triggerer,
    delete_dag_file,
    drain_worker_while_waiting,
    end_before_deferral,
    kill_worker_when_held,
    kill_worker_while_waiting,
    lose_machine_while_waiting,
    mark,
    mark_while_a_line_is_written,
    mend_login_for_the_retry,
    move_trigger,
    nothing,
    outage,
    restart,
    rotate_token,
    start_many,
)
from chaos_stage import Expected, Row, Setup
from wire_faults import (
    SecondSuccess,
    answer_looks,
    bad_gateway,
    bare_503_to_the_kickoff,
    cannot_stop,
    elsewhere,
    hold,
    hold_each_first_look,
    hold_run,
    is_kickoff,
    is_look,
    lose_kickoff,
    not_found,
    refuse_login_after_success,
    strange,
    too_many,
    truncated,
)

ADOPTED = "No new run is started"
XCOM_BACKEND = Setup(
    "an XCom backend that stores references",
    {
        "core": {"xcom_backend": "airflow.providers.common.io.xcom.backend.XComObjectStorageBackend"},
        "common.io": {"xcom_objectstorage_path": "file://{folder}/xcom", "xcom_objectstorage_threshold": "0"},
    },
)
CLEARED_ON_SUCCESS = Setup("clear_on_success", {"state_store": {"clear_on_success": "True"}})
LEDGER = Setup("a ledger_path", {"crewai": {"ledger_path": "file://{folder}/ledger"}})

WORKERS = (
    Row("worker killed while waiting", "sync", Expected(1, says=ADOPTED), kill_worker_while_waiting),
    Row("its machine lost while waiting", "sync", Expected(1, says=ADOPTED), lose_machine_while_waiting),
    Row("its pod evicted while waiting", "sync", Expected(1, says=ADOPTED), drain_worker_while_waiting),
    Row(
        "killed between POST and record",
        "sync",
        Expected(1, "failed", "A paid run may be going on"),
        kill_worker_when_held,
        hold(is_kickoff),
    ),
    Row("the same, on_orphaned_kickoff=rerun", "orphan_rerun", Expected(2), kill_worker_when_held, hold(is_kickoff)),
    Row("killed between record and defer", "deferred", Expected(1, says=ADOPTED), kill_worker_when_held, hold(is_look)),
    Row(
        "killed in execute_complete",
        "deferred",
        Expected(1, says=ADOPTED),
        kill_worker_when_held,
        hold(SecondSuccess()),
    ),
)
COMPONENTS = (
    Row("triggerer killed while deferred", "deferred", Expected(1), restart("triggerer"), hold_run),
    Row("api-server restarted while deferred", "deferred", Expected(1), restart("api-server"), hold_run),
    Row("scheduler killed while deferred", "deferred", Expected(1), restart("scheduler"), hold_run),
    Row(
        "trigger moved, first triggerer wakes",
        "deferred",
        Expected(1, says="is not stopped"),
        move_trigger,
        hold_run,
        on_3_4=Expected(1),  # the trigger that was left is not told to kill any more
    ),
    Row(
        "trigger moved, with an XCom backend that stores references",
        "deferred",
        Expected(1),
        move_trigger,
        hold_run,
        setup=XCOM_BACKEND,
    ),
    Row("Dag file deleted while deferred", "deleted", Expected(1, says=ADOPTED), delete_dag_file, hold_run),
)
MARKS = (
    Row("marked failed while deferred", "deferred", Expected(1, "failed", stops=1), mark("failed")),
    Row("marked success while deferred", "deferred", Expected(1, stops=1), mark("success")),
    Row("marked failed, on_kill=leave", "leave", Expected(1, "failed", "GOES ON"), mark("failed")),
    Row("marked failed while waiting in a worker", "sync", Expected(1, "failed", stops=1), mark("failed", "running")),
    Row(
        "marked failed while a log line is written",
        "slow_log",
        Expected(1, "failed", stops=1),
        mark_while_a_line_is_written,
        hold_run,
    ),
    Row(
        "marked failed between kickoff and deferral",
        "few",
        Expected(FEW, "failed", stops=FEW),
        end_before_deferral,
        hold_each_first_look,
    ),
)
COULD_NOT_KNOW = "discarded the record"
CLEARS = (
    Row("cleared while deferred", "deferred", Expected(2, stops=1), clear()),
    Row(
        "cleared while deferred, task state kept",
        "deferred",
        Expected(2, stops=1),
        clear(keep_task_state=True),
        since=(3, 4),
    ),
    Row(
        "cleared while deferred, triggerer just started",
        "deferred",
        Expected(2, stops=1),
        clear_under_a_new_triggerer,
        hold_run,
    ),
    Row("whole Dag run cleared while deferred", "deferred", Expected(2, stops=1), clear_the_dag_run),
    Row("cleared while waiting in a worker", "sync", Expected(2, stops=1), clear("running")),
    Row(
        "cleared while waiting in a worker, no way to stop",
        "sync",
        Expected(2, says="GOES ON"),
        clear("running"),
        refusal=cannot_stop,
    ),
    Row(
        "cleared while deferred, no way to stop", "deferred", Expected(2, says="GOES ON"), clear(), refusal=cannot_stop
    ),
    Row("cleared after success", "deferred", Expected(2), clear_after_success()),
    Row(
        "cleared while deferred, on_clear=reattach",
        "reattach",
        Expected(1, says=ADOPTED),
        clear(),
        on_3_4=Expected(2, says=COULD_NOT_KNOW, stops=1),
    ),
    Row(
        "cleared while deferred, on_clear=reattach, task state kept",
        "reattach",
        Expected(1, says=ADOPTED),
        clear(keep_task_state=True),
        since=(3, 4),
    ),
    Row(
        "cleared after success, on_clear=reattach",
        "reattach",
        Expected(1, says=ADOPTED),
        clear_after_success(),
        on_3_4=Expected(2, says=COULD_NOT_KNOW),
    ),
    Row(
        "cleared after success, on_clear=reattach, task state kept",
        "reattach",
        Expected(1, says=ADOPTED),
        clear_after_success(keep_task_state=True),
        since=(3, 4),
    ),
    Row(
        "cleared while deferred, on_clear=reattach, with ledger_path",
        "reattach",
        Expected(1, says=ADOPTED),
        clear(),
        setup=LEDGER,
    ),
    Row(
        "cleared after success, on_clear=reattach, with ledger_path",
        "reattach",
        Expected(1, says=ADOPTED),
        clear_after_success(),
        setup=LEDGER,
    ),
    Row(
        "cleared after success, clear_on_success",
        "deferred",
        Expected(2),
        clear_after_success(),
        setup=CLEARED_ON_SUCCESS,
    ),
    Row(
        "cleared after success, reattach, clear_on_success",
        "reattach",
        Expected(2, says=COULD_NOT_KNOW),
        clear_after_success(),
        setup=CLEARED_ON_SUCCESS,
    ),
    Row(
        "worker killed while waiting, clear_on_success",
        "sync",
        Expected(1, says=ADOPTED),
        kill_worker_while_waiting,
        setup=CLEARED_ON_SUCCESS,
    ),
)
INPUTS = (
    Row("inputs edited between tries", "edited", Expected(2, stops=1), kill_worker_while_waiting),
    Row(
        "the same, on_changed_inputs=fail",
        "edited_fail",
        Expected(1, "failed", "on_changed_inputs is 'fail'"),
        kill_worker_while_waiting,
    ),
)
WIRE = (
    Row("answer to the POST lost", "deferred", Expected(1, "failed", "may have started"), nothing, lose_kickoff),
    Row(
        "bare 503 to the kickoff",
        "deferred",
        Expected(1, "failed", "may have started"),
        nothing,
        bare_503_to_the_kickoff,
    ),
    Row("API out for 12 s while deferred", "deferred", Expected(1), outage(12)),
    Row(
        "API out for longer than unreachable_timeout",
        "unreachable",
        Expected(1, "failed", "the API has not answered"),
        outage(20),
    ),
    Row("token rotated while deferred", "deferred", Expected(1), rotate_token),
    Row(
        "login lost after the run was seen to end",
        "deferred",
        Expected(1, says="only its answer could not be fetched"),
        mend_login_for_the_retry,
        refuse_login_after_success,
    ),
    Row("429 with Retry-After", "deferred", Expected(1), nothing, answer_looks(too_many, too_many)),
    Row("HTML 502 storm", "deferred", Expected(1), nothing, answer_looks(*[bad_gateway] * 4)),
    Row("truncated JSON", "deferred", Expected(1), nothing, answer_looks(truncated, truncated)),
    Row("redirect to another host", "deferred", Expected(1), nothing, answer_looks(elsewhere)),
    Row("unknown state", "deferred", Expected(1), nothing, answer_looks(strange, strange)),
    Row("NOT FOUND for a while", "deferred", Expected(1), nothing, answer_looks(not_found, not_found)),
    Row("50 mapped tasks at once", "mapped", Expected(MAPPED), start_many, hold_run),
)
ROWS = (*WORKERS, *COMPONENTS, *MARKS, *CLEARS, *INPUTS, *WIRE)
