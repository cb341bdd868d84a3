"""The local AOP server with the example crew: a process of ours beside Airflow."""

import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
from airflow_api import eventually
from checkout import CHECKOUT
from processes import Family, is_alive, outer_environment, send


class CrewServer:
    """`python -m airflow_provider_crewai serve PROJECT` on a free port, with a token made up here.

    `variables` come on top of this process's environment; `slots` are the runs that it carries out at once. A `strict`
    one is as silent about what a crew asks as a deployment.
    """

    def __init__(
        self,
        folder: Path,
        variables: Mapping[str, str] | None = None,
        slots: int = 2,
        project: Path = CHECKOUT / "example_crew",
        *,
        strict: bool = False,
    ) -> None:
        self.token = secrets.token_urlsafe(24)
        self.log = folder / "crew-server.log"
        self._state = folder / "crew-server"
        self.token_file = folder / "crew-token"
        self._variables = variables or {}
        self._slots = slots
        self._project = project
        self._strict = strict
        self._family = Family()
        self.url = ""

    def page_of(self, kickoff_id: str) -> str:
        """Answer with the link that opens a run's page, once; where one is logged in, again and again."""
        found = re.search(r"open its page in a browser[^:]*: (http://\S+)", self.log.read_text())
        return f"{found[1]}&next=/runs/{kickoff_id}" if found else f"{self.url}/runs/{kickoff_id}"

    @property
    def connection(self) -> dict[str, object]:
        """Answer with the Airflow connection that leads here."""
        return {"conn_type": "crewai", "host": self.url, "password": self.token}

    def __enter__(self) -> Self:
        try:
            self.url = self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self, patience: float = 10) -> None:
        """Ask it to stop, wait, and kill what is left."""
        for process in self._family.members():
            send(process, signal.SIGTERM)
        self._family.end(patience)

    def _start(self) -> str:
        """Start it and wait until it says where it serves."""
        self._state.mkdir(parents=True, exist_ok=True)
        options = (
            "--port",
            "0",
            "--slots",
            str(self._slots),
            "--state",
            str(self._state),
            "--python",
            os.environ["CREW_PYTHON"],
            "--token-file",
            str(self.token_file),
            *(["--strict-aop"] if self._strict else []),
        )
        self._keep_token()
        variables = {**outer_environment(), **self._variables}
        with self.log.open("w") as log:
            server = subprocess.Popen(
                (sys.executable, "-m", "airflow_provider_crewai", "serve", str(self._project), *options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._family.environment(variables),
                start_new_session=True,  # Ctrl-C is for whoever started us, who stops all in order
            )
        return eventually(lambda: self._address(psutil.Process(server.pid)), f"{self.log} to say where it serves")

    def _keep_token(self) -> None:
        """Write the token where only we read it: every user of a machine can read the arguments of a process."""
        self.token_file.unlink(missing_ok=True)
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(self.token)

    def _address(self, server: psutil.Process) -> str | None:
        """Answer with the address that the server has printed, if it has."""
        printed = self.log.read_text()
        if found := re.search(r"^Serving .* at (http://\S+)", printed, re.MULTILINE):
            return found[1]
        if not is_alive(server):
            raise RuntimeError(f"the local AOP server does not start:\n{printed}")
        return None
