"""What the tasks that start runs share: what is sent, by which rules, and until when.

An operator of one run and an operator of many differ in how they wait, not in this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar, get_args

from airflow_provider_crewai.client.killing import OnKill, is_refused
from airflow_provider_crewai.client.ledger import OnChangedInputs, OnClear, OnOrphanedKickoff, OnOutputMismatch, Rules
from airflow_provider_crewai.in_airflow.compat import Context, reschedule
from airflow_provider_crewai.in_airflow.config import UNSET, Unset, chosen
from airflow_provider_crewai.in_airflow.dag_arguments import check_flag
from airflow_provider_crewai.in_airflow.failing import may_retry
from airflow_provider_crewai.in_airflow.killed_in_worker import ask_state_if_cheap
from airflow_provider_crewai.in_airflow.limits import Limit, check_limit, deadline_of
from airflow_provider_crewai.in_airflow.own_webhooks import webhooks_of
from airflow_provider_crewai.polling import PollsRuns
from airflow_provider_crewai.wire.errors import CrewError, CrewQuotaError, CrewTaskKilled
from airflow_provider_crewai.wire.model import CrewInputs, JSONObject, Kickoff
from airflow_provider_crewai.wire.words import listing


class StartsRuns(PollsRuns):
    """Base of the operators that start runs.

    :param meta: an object that the crew repeats in its webhooks. The task adds the names of the Dag, Dag run, task,
        map index and try, and its own URL in Airflow, under `airflow`.
    :param task_webhook_url: called after each crew task.
    :param step_webhook_url: called after each step of an agent.
    :param crew_webhook_url: called when the run has succeeded.
    :param human_input_webhook: called when the crew waits for a human: a URL, or an object with `url` and
        `authentication`. In each webhook the URL may be `conn://ID`: the task then reads the Airflow connection ID just
        before the kickoff, and takes the whole URL from its host, and a token from its password, or a login and its
        password.
    :param webhooks: streaming events: an object with `events`, `url`, `realtime`, `authentication`.
    :param validate_inputs: ask the crew for its inputs before the paid kickoff, and refuse a misspelt name.
    :param timeout: seconds or timedelta, counted from the start of the try. Then the task stops waiting; the run goes
        on. Default 24 hours; None waits for ever. If `execution_timeout` is shorter, that holds.
    :param durable: False starts a new run on each try, whatever happened to the last one.
    :param on_changed_inputs: `rerun` or `fail` if a retry finds other inputs than the run was started with: somebody
        edited them, or a template renders differently on each try.
    :param on_orphaned_kickoff: `fail` or `rerun` if an earlier try may have started a run that nobody can name.
    :param on_clear: `rerun` or `reattach` after a user cleared the task.
    :param on_output_mismatch: `fail` without a retry, or `rerun` the crew on a retry, if its answer does not fit
        `output_type`.
    :param on_kill: `stop` or `leave` a run that the task no longer waits for: a user ended or cleared the task, or a
        new run replaces it. Ending a deferred task needs Airflow 3.3. If the deployment cannot stop runs, the run goes
        on, and the log says so.
    """

    template_fields: Sequence[str] = (
        "inputs",
        "crewai_conn_id",
        "meta",
        "task_webhook_url",
        "step_webhook_url",
        "crew_webhook_url",
        "human_input_webhook",
        "webhooks",
        "result_path",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"inputs": "json", "meta": "json"}
    ui_color = "#ffe0d6"

    def __init__(
        self,
        *,
        meta: JSONObject | None = None,
        task_webhook_url: str | None = None,
        step_webhook_url: str | None = None,
        crew_webhook_url: str | None = None,
        human_input_webhook: str | JSONObject | None = None,
        webhooks: JSONObject | None = None,
        validate_inputs: bool = False,
        timeout: Limit | Unset = UNSET,
        durable: bool = True,
        on_changed_inputs: OnChangedInputs | Unset = UNSET,
        on_orphaned_kickoff: OnOrphanedKickoff | Unset = UNSET,
        on_clear: OnClear | Unset = UNSET,
        on_output_mismatch: OnOutputMismatch | Unset = UNSET,
        on_kill: OnKill | Unset = UNSET,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.meta = meta
        self.task_webhook_url = task_webhook_url
        self.step_webhook_url = step_webhook_url
        self.crew_webhook_url = crew_webhook_url
        self.human_input_webhook = human_input_webhook
        self.webhooks = webhooks
        self.validate_inputs = validate_inputs
        self.timeout = chosen("timeout", timeout)
        check_limit(self.task_id, "timeout", self.timeout)
        self.durable = durable
        self.rules = Rules(
            chosen("on_changed_inputs", on_changed_inputs),
            chosen("on_orphaned_kickoff", on_orphaned_kickoff),
            chosen("on_clear", on_clear),
            chosen("on_output_mismatch", on_output_mismatch),
        )
        self.kill_policy: OnKill = chosen("on_kill", on_kill)
        _check_words(self.task_id, on_kill=self.kill_policy, **asdict(self.rules))
        for flag in ("validate_inputs", "durable"):
            check_flag(self.task_id, flag, getattr(self, flag))

    def after_no_run(self, error: CrewError) -> str:
        """Say what a retry and a clear will do."""
        from airflow_provider_crewai.client.messages import after_no_run

        rescheduled = reschedule is not None and self.has_retry_policy and isinstance(error, CrewQuotaError)
        return after_no_run(error, retried=may_retry(error), rescheduled=rescheduled)

    def _kickoff(self, inputs: JSONObject, context: Context) -> Kickoff:
        """Return what is sent for these inputs.

        :raises CrewConfigError: a webhook or `meta` cannot be sent.
        """
        from airflow_provider_crewai.client.rendered import as_object

        meta = {**as_object(self.meta, "meta"), "airflow": _tags(context)}
        return replace(webhooks_of(self), inputs=inputs, meta=meta)

    def _refuse_an_ended_task(self, context: Context) -> None:
        """Start no run if a user has ended or cleared the task since its process began."""
        state = ask_state_if_cheap(context["ti"])
        if is_refused(state):
            raise CrewTaskKilled(f"The task is {state} now. Nothing was sent.")

    def _validate(self, inputs: JSONObject, listed: CrewInputs) -> None:
        from airflow_provider_crewai.client.inputs import check_names

        missing = check_names(inputs, listed.names)
        if missing:
            # Not refused here: a flow has defaults, and a crew refuses by itself before it costs anything.
            self.log.warning("The crew also lists these inputs, which the task does not give: %s", listing(missing))

    def _deadline(self, context: Context) -> float | None:
        return deadline_of(self, context, self.timeout)


WORDS: dict[str, tuple[str, ...]] = {
    "on_changed_inputs": get_args(OnChangedInputs),
    "on_orphaned_kickoff": get_args(OnOrphanedKickoff),
    "on_clear": get_args(OnClear),
    "on_output_mismatch": get_args(OnOutputMismatch),
    "on_kill": get_args(OnKill),
}


def _check_words(task_id: str, **said: str) -> None:
    for name, word in said.items():
        if word not in WORDS[name]:
            either = " or ".join(map(repr, WORDS[name]))
            raise ValueError(f"Task {task_id!r}: {name} is {word!r}; set it to {either}.")


def _tags(context: Context) -> JSONObject:
    ti = context["ti"]
    return {
        "dag_id": ti.dag_id,
        "task_id": ti.task_id,
        "run_id": ti.run_id,
        "map_index": map_index_of(context),
        "try_number": ti.try_number,
        "url": ti.log_url,
    }


def map_index_of(context: Context) -> int:
    """Return the task instance's map index, or -1 if it is not mapped."""
    index = getattr(context["ti"], "map_index", None)
    return -1 if index is None else index
