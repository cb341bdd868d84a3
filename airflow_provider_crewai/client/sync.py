"""The blocking shell: `requests`. For workers and scripts."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

import requests

from airflow_provider_crewai.client import defaults, flows
from airflow_provider_crewai.client.begin import Begun, Plan, begin
from airflow_provider_crewai.client.dialogue import Heard
from airflow_provider_crewai.client.feedback import NO_HOOKS, Given, give
from airflow_provider_crewai.client.killing import KILL_PATIENCE, kill
from airflow_provider_crewai.client.settings import Settings
from airflow_provider_crewai.client.shell import (
    CHUNK,
    CONNECT,
    LOOK_BODY,
    MAX_BODY,
    MAX_HEAD,
    Arriving,
    NoStore,
    Store,
    address,
    encode,
    failure,
    hear_nothing,
    mute,
    reply,
    request_headers,
    say_refusal,
    say_trouble,
    silent,
)
from airflow_provider_crewai.client.sync_sockets import Course, Transport, running
from airflow_provider_crewai.client.watch import Ending, Watch
from airflow_provider_crewai.wire.errors import CrewAnswerTooLarge, CrewConfigError, CrewError, CrewTaskKilled
from airflow_provider_crewai.wire.model import (
    CrewInputs,
    Feedback,
    JSONObject,
    Kickoff,
    Question,
    Request,
    Response,
    Resumed,
    Resumption,
    Run,
)

NAP = 0.5
"""The most seconds until a process notices that it was told to end."""


class CrewClient:
    """A blocking client of one deployed crew.

    :param connect: reads the connection: before the first request, and again after a 401.
    :param patience: seconds for which we try a one-shot call.
    :param store: keeps the record of a task's run; without a store nothing is recorded.
    :param say: called with a sentence when a call got no answer and is made again.
    """

    def __init__(
        self,
        connect: Callable[[], Settings],
        *,
        patience: float = defaults.CALL_PATIENCE,
        store: Store | None = None,
        say: flows.Say = mute,
    ) -> None:
        self.dialect = flows.Dialect()
        self.hear: Callable[[], Heard | None] = hear_nothing
        """Asks Airflow what it knows of a run's questions; None where that cannot be read now."""
        self._connect = connect
        self._settings: Settings | None = None
        self._outdated = False
        self._patience = patience
        self._store = store or NoStore()
        self._say = say
        self._may_start = self._may_wait = True
        self._link: _Link | None = None

    @property
    def settings(self) -> Settings:
        """Return the connection, which is read when it is first needed.

        :raises CrewConfigError: it is missing or cannot be used.
        """
        if self._settings is None or self._outdated:
            self._settings = self._connect()
            self._outdated = False
        return self._settings

    @property
    def crew(self) -> str | None:
        """The crew's base URL, if the connection has been read."""
        return self._settings.base_url if self._settings else None

    def page_of(self, run: Run) -> str | None:
        """Return the URL of a run's page, if the connection has been read and there is one."""
        return self._settings.page_of(run) if self._settings else None

    def get_inputs(self) -> CrewInputs:
        """Ask which inputs the crew takes.

        :raises CrewError: no usable answer came.
        """
        return self.drive(flows.get_inputs(self._patience))

    def connect(self, deadline: float = math.inf) -> str:
        """Read the connection, with several tries if need be, and return the crew's base URL.

        :raises CrewConfigError: it is missing or cannot be used.
        """
        return self.drive(flows.connect(self._patience, deadline))

    def kickoff(self, kickoff: Kickoff, check: flows.Check | None = None) -> str:
        """Start a run, which costs money, and return its kickoff_id. Wakes a sleeping deployment first.

        :param check: gets the inputs that the crew lists; raises to refuse the kickoff.
        :raises CrewMayHaveStarted: the kickoff was sent and no usable answer came back. It is not sent again.
        :raises CrewError: the run was not started.
        """
        return self.drive(flows.kickoff(kickoff, self._patience, check))

    def get_status(self, kickoff_id: str) -> Run:
        """Look at a run.

        :raises CrewError: no usable answer came.
        """
        return self.drive(flows.get_status(kickoff_id, self.dialect, self._patience))

    def resume(self, resumption: Resumption) -> Resumed:
        """Answer a crew that waits for a human.

        :raises CrewError: no usable answer came.
        """
        return self.drive(flows.resume(resumption, self._patience))

    def give(
        self,
        feedback: Feedback,
        question: Question,
        kickoff_id: str,
        hooks: Kickoff = NO_HOOKS,
        *,
        again: bool = True,
    ) -> Given:
        """Give a run a person's feedback to its question, at most once. With a store, also across tries of a task.

        :param hooks: the kickoff whose webhooks are sent again: a crew that goes on without them forgets them.
        :param again: whether to wait until it is certain that it did not arrive, and to send it again then.
        :raises CrewError: it is not known to have arrived; see `feedback.give`.
        """
        flow = give(feedback, question, kickoff_id, hooks, self.dialect, self._patience, self._say, again=again)
        return self.drive(flow)

    def stop(self, kickoff_id: str) -> bool:
        """Stop a run. Return True if it was stopped, False if it had already ended.

        :raises CrewNotFound: the deployment cannot stop runs; the run goes on.
        :raises CrewError: no usable answer came.
        """
        return self.drive(flows.stop(kickoff_id, self._patience))

    def kill(self, kickoff_id: str) -> str:
        """Stop a run, and return a sentence that says what happened to it. Raises nothing."""
        return self.drive(kill(kickoff_id, self._patience))

    def begin(self, plan: Plan, say: flows.Say) -> Begun:
        """Start the run of a task, or take up the one that an earlier try started.

        :param say: called with a sentence that says what happens next, and why.
        :raises CrewError: there is no run to wait for; see `begin.begin`.
        """
        return self.drive(begin(plan, self.dialect, say))

    def wait(self, watch: Watch, observe: flows.Observe = silent) -> Ending:
        """Wait for a run until it ends or the watch gives up.

        :param observe: called after each look, with the answer or the error, and the epoch second.
        """
        return self.drive(flows.wait(watch, self.dialect, observe))

    def drive(self, flow: flows.Flow[flows.T]) -> flows.T:
        """Carry out the steps of a flow until it returns.

        :raises CrewTaskKilled: the task's process was told to end, and its run was stopped or left.
        """
        try:
            step = next(flow)
            while True:
                if not self._may_wait:
                    raise CrewTaskKilled("The task's process was told to end, so it waits no longer.")
                step = flow.send(self._carry_out(step))
        except StopIteration as done:
            result: flows.T = done.value
            return result

    def start_nothing(self) -> None:
        """Refuse from now on to send what must not be sent twice, because the process is about to be killed."""
        self._may_start = False

    def wait_no_longer(self) -> None:
        """Take no further step: the process was told to end, and its run was stopped or left."""
        self._may_wait = False

    def in_a_hurry(self) -> CrewClient:
        """Return a client for the last seconds of a killed task, with short timeouts and connections of its own.

        It does not read the connection again, because a signal handler must not ask Airflow for anything.
        """
        known = self._settings

        def connect() -> Settings:
            if known is None:
                raise CrewConfigError("the task had not read its connection yet")
            return replace(known, timeout=min(known.timeout, KILL_PATIENCE))

        return CrewClient(connect, patience=KILL_PATIENCE)

    def close(self) -> None:
        """Close the connection that was kept open for the next request."""
        if self._link:
            self._link.close()

    def _carry_out(self, step: flows.Step) -> flows.Reply:
        match step:
            case Request():
                return reply(self._send(step))
            case flows.Connect():
                return reply(self._connected())
            case flows.Renew(trouble):
                say_refusal(trouble, self._say)
                self._outdated = True
            case flows.Load(page):
                return reply(self._load(self._place(page)))
            case flows.Save(record, page):
                return reply(self._save(self._place(page), record))
            case flows.Hear():
                return reply(self.hear())
            case flows.Pause():
                say_trouble(step, self._say)
                self._sleep(step.seconds)
        return reply()

    def _sleep(self, seconds: float) -> None:
        # In short naps: after a signal handler returns, Python finishes the interrupted sleep.
        while self._may_wait and seconds > 0:
            time.sleep(min(seconds, NAP))
            seconds -= NAP

    def _send(self, request: Request) -> Response | CrewError:
        if not (request.idempotent or self._may_start):
            return CrewTaskKilled("The task's process was told to end. Nothing was sent.")
        try:
            link = self._link_to(self.settings)
        except CrewError as error:
            return error
        return link.send(request)

    def _link_to(self, settings: Settings) -> _Link:
        if self._link is None or self._link.settings.transport != settings.transport:
            self.close()
            self._link = _Link(settings)
        self._link.settings = settings
        return self._link

    def _connected(self) -> flows.Connected | CrewError:
        try:
            return flows.Connected(self.settings.base_url)
        except CrewError as error:
            return error

    def _place(self, page: str) -> Store:
        return self._store.beside(page) if page else self._store

    @staticmethod
    def _load(store: Store) -> flows.Stored | CrewError:
        try:
            return flows.Stored(store.load())
        except CrewError as error:
            return error

    @staticmethod
    def _save(store: Store, record: JSONObject | None) -> CrewError | None:
        try:
            store.save(record)
        except CrewError as error:
            return error
        return None


class _Link:
    """A connection to the crew that stays open between two requests."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        # No `requests` session: it would keep cookies, and work out where a redirect leads.
        self._transport = Transport(settings.tls)

    def send(self, request: Request) -> Response | CrewError:
        """Send a request and return its answer, or the error instead."""
        if not request.idempotent:
            # If the server had closed the open connection meanwhile, it would look like a lost answer. So a request
            # that must not be sent twice gets a new connection.
            self.close()
        timeout = self.settings.timeout
        with running(Course(timeout, min(CONNECT, timeout / 2), MAX_BODY + MAX_HEAD)) as course:
            got = self._tried(request, course)
            if isinstance(got, CrewError) and request.method == "GET" and not (course.connected or course.heard):
                # The server had closed the open connection, which means nothing. The next one is new.
                self.close()
                got = self._tried(request, course)
        return got

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()

    def _tried(self, request: Request, course: Course) -> Response | CrewError:
        outer = sys.exception()
        try:
            return self._exchange(request, course.left())
        except CrewError as error:
            return error
        except Exception as error:  # noqa: BLE001 - the course knows what happened, so the error's class does not matter
            why = TimeoutError() if course.is_over else _first_cause(error, outer)
            return failure(why, self.settings, sent=course.sent)

    def _exchange(self, request: Request, timeout: float) -> Response:
        proxies = dict.fromkeys(("http", "https"), self.settings.proxy) if self.settings.proxy else {}
        with self._transport.send(self._prepared(request), stream=True, timeout=timeout, proxies=proxies) as got:
            headers = ((name.encode(), value.encode("latin-1")) for name, value in got.raw.headers.iteritems())
            secrets = self.settings.secrets + request.secrets
            arriving = Arriving(secrets, got.status_code, headers, MAX_BODY if request.long_answer else LOOK_BODY)
            for chunk in got.raw.stream(CHUNK, decode_content=False):
                if not arriving.take(chunk):
                    break
            response = arriving.response()
        if arriving.limit == MAX_BODY and not response.whole:
            raise CrewAnswerTooLarge(f"the answer is larger than {MAX_BODY} bytes")
        return response

    def _prepared(self, request: Request) -> requests.PreparedRequest:
        settings = self.settings
        url = address(settings, request)
        headers = {"Host": urlsplit(url).netloc, **request_headers(settings, request)}
        prepared = requests.Request(request.method, url, headers, data=encode(request)).prepare()
        prepared.url = url  # unchanged: `requests` would rewrite it
        return prepared


def _first_cause(error: Exception, outer: BaseException | None) -> Exception:
    """Return the first error: what `requests` and urllib3 raise on top of it is about their pools and retries.

    :param outer: the error that our caller is handling at this moment, which is unrelated.
    """
    while isinstance(cause := error.__context__, Exception) and cause is not outer:
        error = cause
    return error
