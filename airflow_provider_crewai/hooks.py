"""Hooks: talk to one deployed crew over an Airflow connection."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from airflow_provider_crewai.client import defaults
from airflow_provider_crewai.client.fields import called
from airflow_provider_crewai.client.lookups import Lookups
from airflow_provider_crewai.client.rendered import as_text
from airflow_provider_crewai.in_airflow.compat import BaseHook, aget_connection
from airflow_provider_crewai.in_airflow.unreadable import unreadable
from airflow_provider_crewai.wire.errors import (
    CrewConfigError,
    CrewError,
    CrewServerError,
    CrewTransportError,
)
from airflow_provider_crewai.wire.words import listing

if TYPE_CHECKING:
    from airflow_provider_crewai.client.aio import AsyncCrewClient
    from airflow_provider_crewai.client.feedback import Given
    from airflow_provider_crewai.client.flows import Observe
    from airflow_provider_crewai.client.settings import Settings
    from airflow_provider_crewai.client.sync import CrewClient
    from airflow_provider_crewai.client.watch import Ending, Watch
    from airflow_provider_crewai.wire.model import CrewInputs, Feedback, Kickoff, Question, Resumed, Resumption, Run

TEST_PATIENCE = 20.0
"""Seconds for which the form's Test button waits until a sleeping deployment wakes up."""

WAKING_UP = (502, 503, 504)
"""HTTP statuses that a gateway answers while the deployment sleeps."""

CONNECTION_KEPT = 60.0
"""Seconds for which all triggers of an event loop share one read of a connection."""

_CURE = "add a connection of type 'crewai' with that id: the crew's URL as host, its Bearer token as password."

_connections: Lookups[Settings] = Lookups(CONNECTION_KEPT)


class CrewHook(BaseHook):
    """Talk to one deployed crew, blocking. For tasks and scripts; use `AsyncCrewHook` in an event loop.

    The connection (type `crewai`) holds the crew's base URL as host and a Bearer or User Bearer token as
    password. Its extra may hold `timeout` (seconds), `verify`, `ca_bundle`, `proxy`, `headers`, `secret_headers`,
    `allow_http`, and nothing else.

    :param crewai_conn_id: the connection's id.
    """

    conn_name_attr = "crewai_conn_id"
    default_conn_name = defaults.CONN_ID
    conn_type = "crewai"
    hook_name = "CrewAI"

    def __init__(self, crewai_conn_id: str = defaults.CONN_ID) -> None:
        super().__init__()
        self.crewai_conn_id = crewai_conn_id

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Give the fields of the connection form to Airflow below 3.0; newer ones read the provider info."""
        from airflow_provider_crewai.in_airflow.connection_form import widgets

        return widgets()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Give the labels of the connection form to Airflow below 3.0; newer ones read the provider info."""
        from airflow_provider_crewai.in_airflow.connection_form import behaviour

        return behaviour()

    @cached_property
    def _client(self) -> CrewClient:
        from airflow_provider_crewai.client.sync import CrewClient

        return CrewClient(self.settings, say=self.log.warning)

    def get_conn(self) -> CrewClient:
        """Return the client behind this hook, made once. It reads the connection when it first sends."""
        return self._client

    def settings(self) -> Settings:
        """Read the connection.

        :raises CrewConnectionUnreadable: Airflow cannot read it.
        :raises CrewConfigError: it cannot be used; names the field.
        """
        conn_id = _named(self.crewai_conn_id)
        try:
            connection = self.get_connection(conn_id)
        except Exception as error:
            raise unreadable(conn_id, error, _CURE) from error
        _ = connection.extra_dejson  # makes Airflow mask the secrets in it; it hides an extra that is not JSON
        return _settings(conn_id, connection)

    def get_inputs(self) -> CrewInputs:
        """Ask which inputs the crew takes. This is a hint: a flow requires none of the inputs that it lists.

        :raises CrewError: the crew cannot be asked.
        """
        return self._client.get_inputs()

    def kickoff(self, kickoff: Kickoff) -> str:
        """Start a run, which costs money, and return its kickoff_id. A webhook may name a connection: `conn://ID`.

        :raises CrewMayHaveStarted: the kickoff was sent and no usable answer came back. It is not sent again.
        :raises CrewError: the run was not started.
        """
        return self._client.kickoff(_connected(kickoff))

    def get_status(self, kickoff_id: str) -> Run:
        """Look at a run.

        :raises CrewError: no usable answer came.
        """
        return self._client.get_status(kickoff_id)

    def resume(self, resumption: Resumption) -> Resumed:
        """Answer a crew that waits for a human. What this returns proves nothing: look at the run.

        :raises CrewError: no usable answer came.
        """
        return self._client.resume(resumption)

    def give(self, feedback: Feedback, question: Question, kickoff_id: str, hooks: Kickoff | None = None) -> Given:
        """Give a run a person's feedback to its question, at most once: if the answer is lost, look at the run.

        :param question: from `get_status(kickoff_id).question`, or from a webhook.
        :param hooks: a kickoff with the run's webhooks: a crew that goes on without them forgets them.
        :raises CrewFeedbackInDoubt: it was sent, and the run does not show whether it arrived.
        :raises CrewError: it was not sent, or was refused.
        """
        return self._client.give(feedback, question, kickoff_id, _connected(hooks))

    def stop(self, kickoff_id: str) -> bool:
        """Stop a run. Return True if it was stopped, False if it had already ended.

        :raises CrewNotFound: the deployment cannot stop runs; the run goes on.
        :raises CrewError: no usable answer came.
        """
        return self._client.stop(kickoff_id)

    def wait(self, watch: Watch, observe: Observe | None = None) -> Ending:
        """Wait for a run until it ends or the watch gives up. Giving up is not an error.

        :param observe: called after each look, with the answer or the error, and the epoch second.
        :raises CrewConfigError: the watch has an invalid kickoff_id.
        """
        return self._client.wait(watch, observe) if observe else self._client.wait(watch)

    def test_connection(self) -> tuple[bool, str]:
        """Ask the crew for its inputs. Return whether that worked, and in one sentence what to do if not.

        A person is waiting, so this waits only for a deployment that is waking up.
        """
        try:
            settings = self.settings()
        except CrewConfigError as error:
            return False, str(error)
        try:
            names = _inputs_at_once(settings).names
        except CrewError as error:
            return False, f"The crew did not say which inputs it takes: {_cure(error, settings)}"
        wants = listing(names) or "no inputs"
        return True, f"The crew at {settings.base_url} answers. It takes: {wants}."


class AsyncCrewHook(BaseHook):
    """`CrewHook` for an event loop, with the same methods. Use it as an async context manager.

    In one event loop all hooks of a connection share one HTTP session and one read of the connection: a secrets
    backend may take seconds, and a triggerer starts many triggers together.

    :param crewai_conn_id: the connection's id.
    """

    def __init__(self, crewai_conn_id: str = defaults.CONN_ID) -> None:
        super().__init__()
        self.crewai_conn_id = crewai_conn_id
        self._client: AsyncCrewClient | None = None
        self._settings: Settings | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.close()

    def get_async_conn(self) -> AsyncCrewClient:
        """Return the client behind this hook, made once. It reads the connection when it first sends."""
        if self._client is None:
            from airflow_provider_crewai.client.aio import AsyncCrewClient

            self._client = AsyncCrewClient(self.settings, say=self._warn)
        return self._client

    def _warn(self, said: str) -> None:
        # Not `self.log.warning`: most of the thousands of hooks in a triggerer never need their logger.
        self.log.warning("%s", said)

    async def settings(self) -> Settings:
        """Read the connection, or take what another hook has read within the last minute.

        A hook asks a second time after a 401, and then gets a newer answer.

        :raises CrewConnectionUnreadable: Airflow cannot read it.
        :raises CrewConfigError: it cannot be used; names the field.
        """
        key = (type(self), self.crewai_conn_id)
        self._settings = await _connections.get(key, self._read, stale=self._settings)
        return self._settings

    async def _read(self) -> Settings:
        conn_id = _named(self.crewai_conn_id)
        try:
            connection, _ = await aget_connection(conn_id, type(self))
        except Exception as error:
            raise unreadable(conn_id, error, _CURE) from error
        # In a thread: reading a CA bundle takes some 50 ms, and all triggers would wait.
        return await asyncio.to_thread(_settings, conn_id, connection)

    async def get_inputs(self) -> CrewInputs:
        """Ask which inputs the crew takes; see `CrewHook.get_inputs`."""
        return await self.get_async_conn().get_inputs()

    async def kickoff(self, kickoff: Kickoff) -> str:
        """Start a run; see `CrewHook.kickoff`. Not for triggers: Airflow runs them again after a restart."""
        return await self.get_async_conn().kickoff(await asyncio.to_thread(_connected, kickoff))

    async def get_status(self, kickoff_id: str) -> Run:
        """Look at a run; see `CrewHook.get_status`."""
        return await self.get_async_conn().get_status(kickoff_id)

    async def resume(self, resumption: Resumption) -> Resumed:
        """Answer a crew that waits for a human; see `CrewHook.resume`."""
        return await self.get_async_conn().resume(resumption)

    async def give(
        self, feedback: Feedback, question: Question, kickoff_id: str, hooks: Kickoff | None = None
    ) -> Given:
        """Give a run a person's feedback; see `CrewHook.give`. Not for triggers: Airflow runs them again."""
        sealed = await asyncio.to_thread(_connected, hooks)
        return await self.get_async_conn().give(feedback, question, kickoff_id, sealed)

    async def stop(self, kickoff_id: str) -> bool:
        """Stop a run; see `CrewHook.stop`."""
        return await self.get_async_conn().stop(kickoff_id)

    async def wait(self, watch: Watch, observe: Observe | None = None) -> Ending:
        """Wait for a run; see `CrewHook.wait`."""
        client = self.get_async_conn()
        return await (client.wait(watch, observe) if observe else client.wait(watch))


def _named(conn_id: object) -> str:
    # A template may have rendered to digits, as a number, or to nothing.
    if (name := as_text(conn_id, "crewai_conn_id")) is None:
        raise CrewConfigError(f"crewai_conn_id rendered to {conn_id!r}, not to a connection id. Nothing was sent.")
    return name


def _connected(kickoff: Kickoff | None) -> Kickoff:
    """Return a kickoff with what the connections of its webhooks say. None gives no webhooks."""
    from airflow_provider_crewai.in_airflow.webhook_connections import connected
    from airflow_provider_crewai.wire.model import Kickoff

    return connected(kickoff or Kickoff())


def _settings(conn_id: str, connection: Any) -> Settings:
    from airflow_provider_crewai.client.settings import read_settings

    return read_settings(
        conn_id,
        host=connection.host,
        port=connection.port,
        schema=connection.schema,
        login=connection.login,
        password=connection.password,
        extra=connection.extra,
    )


def _inputs_at_once(settings: Settings) -> CrewInputs:
    from airflow_provider_crewai.client.sync import CrewClient

    try:
        return CrewClient(lambda: settings, patience=0).get_inputs()
    except CrewServerError as error:
        if error.status not in WAKING_UP:
            raise
    return CrewClient(lambda: settings, patience=TEST_PATIENCE).get_inputs()


def _cure(error: CrewError, settings: Settings) -> str:
    from airflow_provider_crewai.client.messages import advice

    if not isinstance(error, CrewTransportError) or error.sent:
        return advice(error)
    if "SSL" in str(error):
        cure = f"Set the {called('extra.ca_bundle')} where its certificate is your own, or begin the {called('host')} "
        return f"{error}. {cure}with http:// where it has none."
    way = f"by a proxy: check the {called('extra.proxy')} and" if settings.proxy else "without a proxy: check"
    return f"{error}. {settings.base_url} was asked {way} the {called('host')}."
