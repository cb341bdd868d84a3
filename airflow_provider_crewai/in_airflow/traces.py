"""What a task leaves behind about its run: lines in its log, XComs, its link, its lineage."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow_provider_crewai.in_airflow.compat import BaseOperator, Context
from airflow_provider_crewai.in_airflow.link import CrewRunLink, run_page_url
from airflow_provider_crewai.in_airflow.xcom import CREW_RUN
from airflow_provider_crewai.wire.errors import CrewError, CrewTaskKilled
from airflow_provider_crewai.wire.model import JSON, JSONObject, Run, RunState

if TYPE_CHECKING:
    from airflow_provider_crewai.client.ledger import Record
    from airflow_provider_crewai.client.summary import Try
    from airflow_provider_crewai.client.sync import CrewClient
    from airflow_provider_crewai.client.waits import Wait
    from airflow_provider_crewai.client.watch import Ending, Watch


class LeavesTraces(BaseOperator):
    """Base of the tasks that wait for a run: how each of them tells people and other tasks about it."""

    crewai_conn_id: str
    operator_extra_links = (CrewRunLink(),)
    run_page: str = ""
    """The URL of the run's page, once it is known that there is one."""

    knows_the_start: ClassVar[bool] = True
    """Whether `Wait.started_at` is when the run was kicked off, so that messages can say its age."""

    without_a_run: str = "The crew was not started"
    """What an error says of a task that has no run to wait for."""

    _ended: tuple[JSONObject, str | None] | None = None
    """What is known of the run at its end, and why it failed, for the lineage."""
    _killed: bool = False

    def fail(self, error: CrewError) -> NoReturn:
        """Raise the error in the form that tells Airflow what to do next."""
        raise NotImplementedError

    def after_no_run(self, error: CrewError) -> str:
        """Return what a retry and a clear will do after an error that left no run to wait for."""
        raise NotImplementedError

    def retry_text(self, ending: Ending | None, *, on_record: bool | None) -> str:
        """Return a sentence that says what a retry and a clear will do.

        :param ending: how the waiting ended, or None while it goes on.
        """
        raise NotImplementedError

    def finds_again(self, context: Context) -> bool | None:
        """Return whether a retry finds the run that the task begins to wait for; None if recovery is off."""
        raise NotImplementedError

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # noqa: ARG002 - OpenLineage's signature
        """Return the lineage: which run of which crew it was, and what became of it. OpenLineage's provider asks."""
        if self._ended is None:
            return None
        from airflow_provider_crewai.in_airflow.lineage import lineage_of

        return lineage_of(*self._ended)

    get_openlineage_facets_on_failure = get_openlineage_facets_on_complete

    def _leave_behind_meanwhile(self, watch: Watch, wait: Wait, client: CrewClient, context: Context) -> None:
        """Tell in the log and in XCom what is known of the run while the task waits for it."""
        from airflow_provider_crewai.client.messages import waiting
        from airflow_provider_crewai.client.summary import while_it_waits

        after = self.retry_text(None, on_record=self.finds_again(context))
        look = self._look(wait, context)

        def left() -> JSON:
            run = watch.run or Run(wait.kickoff_id, watch.last.state if watch.last else RunState.UNKNOWN)
            if watch.dialogue:  # which also knows what webhooks brought, and what was answered just now
                run = replace(run, question=watch.dialogue.question)
            said = waiting(run, now=time.time(), started_at=self._start(wait), after=after, look=look)
            return while_it_waits(self._try(wait, client, context), run, said)

        self._push(CREW_RUN, left, context)
        if not self._killed:  # what a retry does then depends on what became of the run
            for told in (after, *look):
                self.log.info("%s", told)

    def _left(
        self, ending: Ending, wait: Wait, said: tuple[str, ...], client: CrewClient, context: Context
    ) -> JSONObject:
        from airflow_provider_crewai.client.summary import at_its_end
        from airflow_provider_crewai.in_airflow.tracing import note_ending

        summary = at_its_end(self._try(wait, client, context), ending, said)
        self._ended = summary, ending.run.error if ending.run else None
        note_ending(summary)
        return summary

    def _try(self, wait: Wait, client: CrewClient, context: Context) -> Try:
        from airflow_provider_crewai.client.summary import Try

        return Try(client.crew, context["ti"].try_number, self._start(wait), wait.deadline)

    def _start(self, wait: Wait) -> float | None:
        return wait.started_at if self.knows_the_start else None

    def _look(self, wait: Wait, context: Context, *, fetch: bool = False) -> tuple[str, ...]:
        from airflow_provider_crewai.client.messages import look_at

        return look_at(self.page_url(context), wait.kickoff_id, self.connection_name, fetch=fetch)

    @property
    def connection_name(self) -> str:
        """The connection's id, for a command. Native rendering turns an id of digits into a number."""
        return str(self.crewai_conn_id).strip()

    def page_url(self, context: Context) -> str | None:
        """Return the URL of a page about the task's run, or None; a path alone leads nowhere from a log."""
        url = self.run_page or run_page_url(context) or ""
        return None if url.startswith("/") else url or None

    def _show_page(self, page: str | None, context: Context) -> None:
        """Let the task's link lead to the run's page, from before the wait on."""
        if page is not None and page != self.run_page:
            self.run_page = page
            self._push(CrewRunLink().xcom_key, lambda: page, context)

    def _push(self, key: str, make: Callable[[], JSON], context: Context) -> None:
        """Push an XCom beside the answer. If that fails, the run and its ending matter more."""
        try:
            context["ti"].xcom_push(key=key, value=make())
        except Exception as error:  # noqa: BLE001 - for the reason above
            self.log.warning("The XCom %s could not be pushed; the run is not affected: %r", key, error)

    def _said(self, ending: Ending, wait: Wait, context: Context, *, on_record: bool | None) -> tuple[str, ...]:
        from airflow_provider_crewai.client.messages import said

        after = self.retry_text(ending, on_record=on_record)
        look = self._look(wait, context, fetch=ending.needs_a_hand)
        return said(ending, started_at=self._start(wait), after=after, look=look)

    def _tell_success(self, ending: Ending, run: Run, wait: Wait) -> None:
        from airflow_provider_crewai.wire.times import duration

        took = f", {duration(ending.at - wait.started_at)} after it was started" if self.knows_the_start else ""
        self.log.info("Run %s succeeded%s.", wait.kickoff_id, took)
        for remark in run.remarks:
            self.log.warning("The answer of run %s %s.", wait.kickoff_id, remark)

    def fail_without_a_run(
        self, error: CrewError, context: Context, client: CrewClient | None = None, earlier: Record | None = None
    ) -> NoReturn:
        """Say and leave behind why there is no run to wait for, or none that can be named, and raise the error.

        :param earlier: what an earlier try has left on record, if nobody has looked at that run.
        """
        if isinstance(error, CrewTaskKilled):  # Airflow knows why, and its process has five seconds left
            self.fail(error)
        from airflow_provider_crewai.client.messages import look_at_crew, no_run, no_run_in_short
        from airflow_provider_crewai.client.summary import Try, without_a_run

        what, crew = self.without_a_run, client.crew if client else None
        look = look_at_crew(error, self.page_url(context), crew, self.connection_name)
        error.said = no_run(error, otherwise=what, after=self.after_no_run(error), look=look, earlier=earlier)
        error.args = (f"{no_run_in_short(error, what)} (connection {self.crewai_conn_id!r}).",)
        this = Try(crew, context["ti"].try_number)
        went_on = earlier is not None
        self._push(CREW_RUN, lambda: without_a_run(this, error, error.said, time.time(), earlier=went_on), context)
        self.fail(error)
