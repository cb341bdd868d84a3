"""A project that is served: its runs, its warm process, its page and its API, below one path of the server."""

from __future__ import annotations

import argparse
import logging
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from airflow_provider_crewai.server import private
from airflow_provider_crewai.server.access import LoopbackOnly, Token
from airflow_provider_crewai.server.app import create_app, greeting_when_up
from airflow_provider_crewai.server.banner import CONN_ID, banner
from airflow_provider_crewai.server.crew_process.run_settings import RunSettings
from airflow_provider_crewai.server.interpreters import interpreter
from airflow_provider_crewai.server.keeping import Keeper
from airflow_provider_crewai.server.launch import Launcher
from airflow_provider_crewai.server.options import DAY
from airflow_provider_crewai.server.outbox import Outbox
from airflow_provider_crewai.server.page import Page, assets, front
from airflow_provider_crewai.server.project import Description, Project, ProjectError
from airflow_provider_crewai.server.runs import Runs
from airflow_provider_crewai.server.warm_process import WarmProcess
from airflow_provider_crewai.wire.words import line

_TAKEN = ("health", "page", "favicon.ico")  # what the server itself has at its root

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a project is served.

    :param server: the URL of the server.
    :param prefix: the project's path, empty for the root.
    """

    server: str
    prefix: str = ""

    @property
    def url(self) -> str:
        """The base URL of the project's API."""
        return self.server + self.prefix


class Served:
    """A project that is served.

    :param runs: the store of its runs, in a folder that this process holds.
    :param token: the token that requests must carry.
    :param umask: the user's own, for the files that crews write: their modes are not ours to choose.
    :raises ProjectError: there is no interpreter for it as the user wants it.
    """

    def __init__(
        self, project: Project, runs: Runs, token: Token, place: Place, options: argparse.Namespace, umask: int
    ) -> None:
        self._place, self._token = place, token
        self._name = line(project.name)
        self._warm = _warm_process(project, runs, place, options, umask)
        self._launcher = Launcher(runs, self._warm, runs.path.parent, slots=options.slots, on_lost=options.on_lost)
        self._keeper = Keeper(runs, keep=options.keep_days * DAY, most=options.keep_runs)
        secrets = {options.flow_webhook: options.flow_webhook_secret} if options.flow_webhook_secret else {}
        self._outbox = Outbox(runs.path, token.value, secrets=secrets)
        self._page = Page(runs, self._launcher, token.value, token.hint, prefix=place.prefix)
        self._app = create_app(
            runs,
            self._launcher,
            token.value,
            self.greeting,
            strict=options.strict_aop,
            pages=self._page.routes(),
            origins=options.allow_origin,
            prefix=place.prefix,
        )

    @property
    def greeting(self) -> str:
        """The line to print as soon as the server answers requests."""
        return f"Serving {self._name} at {self._place.url}"

    @property
    def app(self) -> Starlette:
        """The API and the page, for the project alone in its server."""
        return self._app

    @property
    def page(self) -> str:
        """The path of its page, without a door."""
        return f"{self._place.prefix}/"

    @property
    def mounted(self) -> Mount:
        """The same below the project's own path, beside others."""
        return Mount(self._place.prefix, app=self._app)

    def is_well(self) -> bool:
        """Return whether somebody looks after its runs."""
        return self._launcher.is_well()

    def start(self, stopping: threading.Event) -> None:
        """Begin to load the project and to look after its runs, until told to stop."""
        page = self._place.server + self._page.ticket()
        conn_id = f"crewai_{self._place.prefix.strip('/')}" if self._place.prefix else CONN_ID
        sys.stderr.write(banner(self._name, self._place.url, page, self._token, conn_id))
        # So the first request need not wait for the import of crewai, which takes seconds.
        self._launcher.describe().add_done_callback(partial(_say_what_is_wrong, stopping))
        chores = self._keeper.chores()
        threading.Thread(target=self._launcher.keep_going, args=(stopping, chores), daemon=True).start()
        threading.Thread(target=self._outbox.run, args=(stopping,), daemon=True).start()

    def close(self) -> None:
        """Let its warm process go."""
        self._warm.close()


def app_of(served: Sequence[Served]) -> Starlette:
    """Return the application that serves one project at the root, or several, each below its own path."""
    if len(served) == 1:
        return served[0].app

    pages = {each.page.strip("/"): each.page for each in served}

    def health(_: Request) -> Response:
        well = all(each.is_well() for each in served)
        return JSONResponse({"status": "healthy" if well else "unhealthy"}, 200 if well else 503)

    return Starlette(
        routes=[Route("/health", health), front(pages), *assets(), *(each.mounted for each in served)],
        middleware=[Middleware(LoopbackOnly)],
        lifespan=greeting_when_up("\n".join(each.greeting for each in served)),
    )


def names_of(projects: Sequence[Project]) -> list[str]:
    """Return a name for each project that can stand in a path, and that no other has."""
    return list(_distinct([re.sub(r"[^A-Za-z0-9._-]+", "-", project.name).strip(".") for project in projects]))


def _distinct(names: Sequence[str]) -> Iterator[str]:
    taken = {*_TAKEN, ""}
    for name in names:
        wanted = (name, *(f"{name or 'project'}-{number}" for number in range(2, len(names) + 3)))
        free = next(each for each in wanted if each not in taken)
        taken.add(free)
        yield free


def _warm_process(project: Project, runs: Runs, place: Place, options: argparse.Namespace, umask: int) -> WarmProcess:
    settings = RunSettings(
        target=project.target,
        directory=str(project.directory),
        database=str(runs.path),
        home=str(runs.path.parent),
        llm=options.llm,
        callback=f"{place.url}/feedback",
        flow_webhook=options.flow_webhook or "",
        keep_apart=options.keep_apart,
    )
    environments = private.folder(runs.path.parent.parent / "environments")
    python = interpreter(project, options.python, options.with_crewai, environments)
    return WarmProcess(project, python, settings, umask, load_within=options.load_timeout)


def _say_what_is_wrong(stopping: threading.Event, described: Future[Description]) -> None:
    # A server that ends kills the process that loads a project, and then nothing is wrong with the project.
    if not stopping.is_set() and not described.cancelled() and isinstance(error := described.exception(), ProjectError):
        log.warning("%s (fix the project; the server need not be restarted)", error)
