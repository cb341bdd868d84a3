"""The blocking shell: `requests`. For workers and scripts."""

from __future__ import annotations

import ssl
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
import urllib3

from airflow_provider_crewai.client import flows
from airflow_provider_crewai.client.begin import Begun, Plan, Say, begin
from airflow_provider_crewai.client.killing import KILL_PATIENCE, kill
from airflow_provider_crewai.client.settings import Settings
from airflow_provider_crewai.client.shell import (
    CHUNK,
    NoStore,
    Store,
    check_length,
    encode,
    in_handshake,
    reply,
    scrub,
    scrub_response,
    silent,
)
from airflow_provider_crewai.client.watch import Ending, Watch
from airflow_provider_crewai.wire.errors import CrewConfigError, CrewError, CrewTaskKilled, CrewTransportError
from airflow_provider_crewai.wire.model import (
    CrewInputs,
    JSONObject,
    Kickoff,
    Request,
    Response,
    Resumed,
    Resumption,
    Run,
)

_BEFORE_SENDING = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.ProxyError,
    requests.ConnectTimeout,
    ssl.SSLCertVerificationError,
)


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Look at no redirect: even unfollowed, `requests` reads its body without end and chokes on its target."""


class _Trusting(requests.adapters.HTTPAdapter):
    """Trusts whom the settings trust; `requests` alone would add its own roots to them."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        super().__init__()

    def build_connection_pool_key_attributes(self, *request: Any) -> Any:
        """Give each connection the context that knows whom to trust."""
        where, _ = super().build_connection_pool_key_attributes(*request)
        return where, {"ssl_context": self._tls}

    def cert_verify(self, *_: object) -> None:
        """Set nothing on a connection: its context says it all."""


class CrewClient:
    """A blocking client of one deployed crew.

    :param connect: reads the connection: before the first request, and again after a 401.
    :param patience: seconds for which a one-shot call is tried.
    :param store: where the record of a task's run is kept; without one nothing is.
    """

    def __init__(
        self,
        connect: Callable[[], Settings],
        *,
        patience: float = flows.CALL_PATIENCE,
        store: Store | None = None,
    ) -> None:
        self.dialect = flows.Dialect()
        self._connect = connect
        self._settings: Settings | None = None
        self._outdated = False
        self._patience = patience
        self._store = store or NoStore()
        self._may_start = True
        self._session = _Session()
        # The environment is read in `settings`, for both shells alike.
        self._session.trust_env = False
        # No cookies: a gateway's stickiness must not tie a worker to one sick node.
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    @property
    def settings(self) -> Settings:
        """The connection, read when it is first needed.

        :raises CrewConfigError: it is missing or cannot be used.
        """
        if self._settings is None or self._outdated:
            self._settings = self._connect()
            self._session.mount("https://", _Trusting(self._settings.tls))
            self._outdated = False
        return self._settings

    def get_inputs(self) -> CrewInputs:
        """Ask which inputs the crew wants.

        :raises CrewError: the crew cannot be asked.
        """
        return self.drive(flows.get_inputs(self._patience))

    def kickoff(self, kickoff: Kickoff) -> str:
        """Start a run, which costs money, and return its kickoff_id.

        :raises CrewMayHaveStarted: it was sent, and no usable answer came back. It is not sent again.
        :raises CrewError: it was not started.
        """
        return self.drive(flows.kickoff(kickoff, self._patience))

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

    def stop(self, kickoff_id: str) -> bool:
        """Stop a run. True if it was stopped, False if it had already ended.

        :raises CrewNotFound: the deployment cannot stop runs; the run goes on.
        :raises CrewError: no usable answer came.
        """
        return self.drive(flows.stop(kickoff_id, self._patience))

    def kill(self, kickoff_id: str) -> str:
        """Stop a run, and return in a sentence what became of it. Raises nothing."""
        return self.drive(kill(kickoff_id, self._patience))

    def begin(self, plan: Plan, say: Say) -> Begun:
        """Start the run of a task, or take up the one that an earlier attempt started.

        :param say: told, in a sentence, what is about to happen and why.
        :raises CrewError: there is no run to wait for; see `begin.begin`.
        """
        return self.drive(begin(plan, self.dialect, say))

    def wait(self, watch: Watch, observe: flows.Observe = silent) -> Ending:
        """Wait for a run until it ends or the watch gives up.

        :param observe: called with what each look came to, an answer or an error, and the time.
        """
        return self.drive(flows.wait(watch, self.dialect, observe))

    def drive(self, flow: flows.Flow[flows.T]) -> flows.T:
        """Carry out the steps of a flow until it returns."""
        try:
            step = next(flow)
            while True:
                step = flow.send(self._carry_out(step))
        except StopIteration as done:
            result: flows.T = done.value
            return result

    def start_nothing(self) -> None:
        """Refuse to send, from now on, what must not be sent twice: the process is about to be killed."""
        self._may_start = False

    def in_a_hurry(self) -> CrewClient:
        """Return a client for the last seconds of a killed task: short timeouts, connections of its own.

        The connection is not read again, since a signal handler must not ask Airflow for anything.
        """
        known = self._settings

        def connect() -> Settings:
            if known is None:
                raise CrewConfigError("the task had not read its connection yet")
            return replace(known, timeout=min(known.timeout, KILL_PATIENCE))

        return CrewClient(connect, patience=KILL_PATIENCE)

    def close(self) -> None:
        """Close the pooled connections."""
        self._session.close()

    def _carry_out(self, step: flows.Step) -> flows.Reply:
        match step:
            case Request():
                return reply(self._send(step))
            case flows.Renew():
                self._outdated = True
            case flows.Load():
                return reply(self._load())
            case flows.Save(record):
                return reply(self._save(record))
            case flows.Pause(seconds):
                time.sleep(seconds)
        return reply()

    def _send(self, request: Request) -> Response | CrewError:
        if not request.idempotent:
            if not self._may_start:
                return CrewTaskKilled("The task's process was told to end. Nothing was sent.")
            # A pooled connection that the server has closed meanwhile would look like a lost answer, so
            # what must not be sent twice gets a new one.
            self._session.close()
        outer = sys.exception()
        try:
            return self._exchange(self.settings, request)
        except CrewError as error:
            return error
        except (OSError, urllib3.exceptions.HTTPError) as error:
            causes = list(_causes(error, outer))
            said = scrub(f"{type(error).__name__}: {causes[-1]}", self.settings)
            return CrewTransportError(said, sent=not any(map(_is_before_sending, causes)))

    def _exchange(self, settings: Settings, request: Request) -> Response:
        give_up = time.monotonic() + settings.timeout
        with self._session.request(
            request.method,
            settings.base_url + request.path,
            data=encode(request),
            headers=settings.request_headers,
            timeout=settings.timeout,
            proxies={"http": settings.proxy, "https": settings.proxy} if settings.proxy else None,
            allow_redirects=False,
            stream=True,
        ) as answer:
            body = b"".join(_chunks(answer.raw, give_up))
            return scrub_response(answer.status_code, dict(answer.headers), body, settings)

    def _load(self) -> flows.Stored | CrewError:
        try:
            return flows.Stored(self._store.load())
        except CrewError as error:
            return error

    def _save(self, record: JSONObject | None) -> CrewError | None:
        try:
            self._store.save(record)
        except CrewError as error:
            return error
        return None


def _chunks(raw: urllib3.HTTPResponse, give_up: float) -> Iterator[bytes]:
    # `requests` times each read by itself, so a body that drips would never end: the sum is timed here.
    length = 0
    while chunk := raw.read1(CHUNK, decode_content=True):
        length = check_length(length + len(chunk))
        yield chunk
        if time.monotonic() > give_up:
            raise requests.ReadTimeout("the answer did not end in time")


def _is_before_sending(cause: BaseException) -> bool:
    """Whether the connection was never made, so that nothing can have arrived."""
    return isinstance(cause, _BEFORE_SENDING) or in_handshake(cause)


def _causes(error: BaseException, outer: BaseException | None) -> Iterator[BaseException]:
    # Not `outer`, the error that our caller is handling just now: it would vouch for a request it knows nothing of.
    yield error
    for cause in (getattr(error, "reason", None), *error.args, error.__context__):
        if isinstance(cause, BaseException) and cause is not outer:
            yield from _causes(cause, outer)
