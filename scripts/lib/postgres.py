"""A private PostgreSQL: for an Airflow with more writers than sqlite takes."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import psutil
import psycopg2  # type: ignore[import-untyped]  # its types are a package of their own
from airflow_api import eventually
from processes import Family, free_ports, send

HOW_TO_GET_IT = "PostgreSQL is not found. Install it, on Debian with `apt-get install postgresql`, and start again."


class Postgres:
    """Runs as whoever we are, or as somebody without rights where we are root, which it refuses. Its data are lost with it."""

    def __init__(self) -> None:
        self._bin = _binaries()
        self._user = _somebody() if os.geteuid() == 0 else None
        self._port = free_ports(1)[0]
        self._family = Family()
        self._folder = Path(tempfile.mkdtemp(prefix="chaos-postgres-"))

    @property
    def url(self) -> str:
        """What Airflow is told to connect to."""
        return f"postgresql+psycopg2://airflow@127.0.0.1:{self._port}/postgres"

    @property
    def server(self) -> psutil.Process:
        """The process that all others of it come from."""
        return psutil.Process(self._server.pid)

    def rows_written(self) -> dict[str, int]:
        """Count the rows that have been inserted, updated or deleted since its start, by table."""
        changes = "select relname, n_tup_ins + n_tup_upd + n_tup_del from pg_stat_user_tables"
        return {str(table): int(count) for table, count in self.ask(changes)}

    def ask(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run a query over a connection of its own; answer with its rows, where it has any."""
        with closing(psycopg2.connect(self.url.replace("+psycopg2", ""))) as connection, connection:
            cursor = connection.cursor()
            cursor.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def stop(self, patience: float = 8) -> None:
        """End it without regard for its data."""
        for process in self._family.members():
            send(process, signal.SIGQUIT)
        self._family.end(patience)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> None:
        if self._user:
            shutil.chown(self._folder, self._user)
        data, log = str(self._folder / "data"), self._folder / "log"
        with log.open("w") as output:
            self._run("initdb", "-D", data, "-A", "trust", "-U", "airflow", "-N", output=output).wait()
            options = {"fsync": "off", "synchronous_commit": "off", "max_connections": "200", "port": str(self._port)}
            options |= {"listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
            settings = [text for name, value in options.items() for text in ("-c", f"{name}={value}")]
            self._server = self._run("postgres", "-D", data, *settings, output=output)
        eventually(lambda: self._answers(self._server, log), "PostgreSQL to start")

    def _run(self, program: str, *arguments: str, output: IO[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            (str(self._bin / program), *arguments),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=self._family.environment({"PATH": os.defpath, "LC_ALL": "C"}),
            user=self._user,
            cwd=self._folder,
            start_new_session=True,
        )

    def _answers(self, server: subprocess.Popen[bytes], log: Path) -> bool | None:
        if server.poll() is not None:
            raise RuntimeError(f"PostgreSQL does not start:\n{log.read_text()}")
        return True if "ready to accept connections" in log.read_text() else None


def _binaries() -> Path:
    """Find where its programs are; Debian leaves `initdb` off the PATH."""
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: path.parts[-3].zfill(4))
    if newest:
        return newest[-1].parent
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    sys.exit(HOW_TO_GET_IT)


def _somebody() -> str:
    with suppress(KeyError):
        return pwd.getpwnam("postgres").pw_name
    return "nobody"
