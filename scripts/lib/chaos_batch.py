"""The rows of `scripts/chaos` with batches: six items, three at a time, each started once."""

from airflow_acts import (
    clear,
    clear_after_success,
    kill_worker_when_held,
    kill_worker_while_waiting,
    mark,
    mark_when_held,
    nothing,
    outage,
    restart,
)
from chaos_rows import LEDGER
from chaos_stage import Expected, Row
from wire_faults import NthKickoff, hold, hold_run, lose_kickoff

ITEMS, SLOTS = 6, 3
ORPHANED = "may have been started"

ROWS_WITH_BATCHES = (
    Row("batch: nothing breaks", "batch", Expected(ITEMS), nothing),
    Row(
        "batch: worker killed in the middle of a wave",
        "batch",
        Expected(ITEMS, "failed", ORPHANED),
        kill_worker_when_held,
        hold(NthKickoff(2)),
    ),
    Row(
        "batch: worker killed in a later wave",
        "batch",
        Expected(ITEMS, "failed", ORPHANED),
        kill_worker_when_held,
        hold(NthKickoff(SLOTS + 1)),
    ),
    Row(
        "batch: the same, on_orphaned_kickoff=rerun",
        "batch_orphan_rerun",
        Expected(ITEMS + 1),
        kill_worker_when_held,
        hold(NthKickoff(2)),
    ),
    Row(
        "batch: worker killed while waiting",
        "batch_sync",
        Expected(ITEMS, says=f"{SLOTS} runs taken up"),
        kill_worker_while_waiting,
    ),
    Row("batch: triggerer killed while deferred", "batch", Expected(ITEMS), restart("triggerer"), hold_run),
    Row(
        "batch: cleared while deferred",
        "batch",
        Expected(ITEMS + SLOTS, stops=SLOTS),
        clear(),
    ),
    Row(
        "batch: cleared while deferred, on_clear=reattach, with ledger_path",
        "batch_reattach",
        Expected(ITEMS, says=f"{SLOTS} runs taken up"),
        clear(),
        setup=LEDGER,
    ),
    Row("batch: cleared after success", "batch", Expected(2 * ITEMS), clear_after_success()),
    Row("batch: marked failed while deferred", "batch", Expected(SLOTS, "failed", stops=SLOTS), mark("failed")),
    Row("batch: marked success while deferred", "batch", Expected(SLOTS, stops=SLOTS), mark("success")),
    Row(
        "batch: marked failed, on_kill=leave",
        "batch_leave",
        Expected(SLOTS, "failed", "GO ON"),
        mark("failed"),
    ),
    Row(
        "batch: marked failed while waiting in a worker",
        "batch_sync",
        Expected(SLOTS, "failed", stops=SLOTS),
        mark("failed", "running"),
    ),
    Row(
        "batch: marked failed in the middle of a wave",
        "batch",
        Expected(None, "failed", stops=None, left=0),
        mark_when_held("failed"),
        hold(NthKickoff(2)),
    ),
    Row("batch: answer to one POST lost", "batch", Expected(ITEMS, "failed", ORPHANED), nothing, lose_kickoff),
    Row("batch: the same, allow_failures=1", "batch_allows_one", Expected(ITEMS), nothing, lose_kickoff),
    Row("batch: API out for 12 s while deferred", "batch", Expected(ITEMS), outage(12)),
    Row(
        "batch: items edited between tries",
        "batch_edited",
        Expected(ITEMS + 1, says=f"{SLOTS - 1} runs taken up", stops=1),
        kill_worker_while_waiting,
    ),
    Row(
        "batch: items edited between tries, on_changed_inputs=fail",
        "batch_edited_fail",
        Expected(SLOTS, "failed", "on_changed_inputs is 'fail'"),
        kill_worker_while_waiting,
    ),
)
