"""Find the crew that a command line names: by an Airflow connection, or by its URL without Airflow."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_crewai.cli.arguments import json_object
from airflow_provider_crewai.cli.verbs import TOKEN_VARIABLE
from airflow_provider_crewai.client import defaults, flows
from airflow_provider_crewai.client.settings import Settings, read_settings
from airflow_provider_crewai.client.sync import CrewClient
from airflow_provider_crewai.wire.errors import CrewConfigError, CrewError, CrewNotFound
from airflow_provider_crewai.wire.model import Request, Response
from airflow_provider_crewai.wire.refusals import read_error

Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Crew:
    """A crew to talk to.

    :param where: the connection or URL, for messages; without the token.
    :param flags: the options with which another command line names the same crew.
    """

    client: Client
    where: str
    entrance: str
    flags: str

    def command(self, verb: str, kickoff_id: str, *more: str) -> str:
        """Return a command line about a run of this crew, for a person to copy."""
        return " ".join([self.entrance, verb, shlex.quote(kickoff_id), *more, self.flags])


def open_crew(options: argparse.Namespace, note: Note) -> Crew:
    """Read and check the connection. Nothing is sent yet.

    :param note: called with a sentence when a call got no answer and is made again.
    :raises CrewConfigError: it is missing or cannot be used.
    """
    connect = _by_url(options) if options.url is not None else _by_connection(options)
    settings = connect()
    where = settings.base_url if options.url is not None else str(settings)
    patience = defaults.CALL_PATIENCE if options.patience is None else options.patience
    return Crew(Client(connect, where, note, patience), where, options.entrance, _flags(options, settings))


def _by_connection(options: argparse.Namespace) -> Callable[[], Settings]:
    if options.token_file or options.extra:
        raise CrewConfigError("--token-file and --extra go with --url; a connection has its own. Nothing was sent.")
    # Airflow's own commands set it, too. Without it the SDK does not read connections from the database (3.3.2).
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    try:
        from airflow_provider_crewai.hooks import CrewHook
    except ImportError as error:
        raise CrewConfigError(
            f"A connection needs Airflow, which cannot be imported here ({error}). Name the crew by --url, with its "
            f"token in {TOKEN_VARIABLE}. Nothing was sent."
        ) from error
    return CrewHook(options.conn_id or defaults.CONN_ID).settings


def _by_url(options: argparse.Namespace) -> Callable[[], Settings]:
    extra = json_object(options.extra, "--extra")

    def connect() -> Settings:
        return read_settings("--url", host=options.url, password=_token(options.token_file), extra=extra)

    return connect


def _token(file: str | None) -> str:
    try:
        token = Path(file).read_text(encoding="utf-8-sig") if file else os.environ.get(TOKEN_VARIABLE, "")
    except (OSError, ValueError) as error:
        raise CrewConfigError(f"--token-file {file} cannot be read ({error}). Nothing was sent.") from None
    if not token.strip():
        empty = f"--token-file {file} is empty" if file else f"{TOKEN_VARIABLE} is not set in the environment"
        raise CrewConfigError(
            f"There is no token: {empty}. Set {TOKEN_VARIABLE}, or give a --token-file. There is no option for the "
            "token itself, since all users of a machine can read command lines. Nothing was sent."
        )
    return token


def _flags(options: argparse.Namespace, settings: Settings) -> str:
    if options.url is None:
        return f"--conn-id {shlex.quote(settings.conn_id)}"
    named = {"--url": settings.base_url, "--token-file": options.token_file, "--extra": options.extra}
    if options.extra and not options.extra.startswith("@"):
        named["--extra"] = "..."  # it may hold a password
    return " ".join(f"{flag} {shlex.quote(value)}" for flag, value in named.items() if value)


class Client(CrewClient):
    """A client that says when it tries again: a person is waiting, and a deployment may sleep for minutes.

    `posted` says whether a request may have arrived and changed something, `heard` what the `Date` of the last
    answer was, and the epoch second at which that came.
    """

    def __init__(self, connect: Callable[[], Settings], where: str, note: Note, patience: float) -> None:
        super().__init__(connect, patience=patience)
        self._where = where
        self._note = note
        self.posted = False
        self.heard: tuple[str, float] | None = None

    def drive(self, flow: flows.Flow[flows.T]) -> flows.T:
        """Carry out the steps of a flow until it returns."""
        return super().drive(self._aloud(flow))

    def _aloud(self, flow: flows.Flow[flows.T]) -> flows.Flow[flows.T]:
        trouble = None
        try:
            step = next(flow)
            while True:
                if trouble and isinstance(step, flows.Pause) and step.seconds:
                    self.posted = False  # it is sent again only because it did not arrive
                    self._note(f"No usable answer from {self._where} ({trouble}); it is asked again.")
                if isinstance(step, Request):
                    self.posted = self.posted or step.method == "POST"
                reply = yield step
                if isinstance(reply.answer, Response) and (date := reply.answer.headers.get("date")):
                    self.heard = date, reply.now
                trouble = _trouble(reply) if isinstance(step, Request) else None
                step = flow.send(reply)
        except StopIteration as done:
            result: flows.T = done.value
            return result


def _trouble(reply: flows.Reply) -> str | None:
    error = read_error(reply.answer) if isinstance(reply.answer, Response) else reply.answer
    # A 404 is an answer, too: this deployment speaks the other dialect.
    return str(error) if isinstance(error, CrewError) and not isinstance(error, CrewNotFound) else None
