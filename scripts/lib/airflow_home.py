"""A private Airflow: real scheduler, triggerer, api-server and dag-processor, in a folder and on ports of its own."""

import base64
import configparser
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import psutil
from airflow_api import AirflowApi, eventually
from processes import Family, free_ports, is_alive, kill_tree, outer_environment

COMPONENTS = ("api-server", "scheduler", "triggerer", "dag-processor")
Settings = Mapping[str, Mapping[str, str]]


class PrivateAirflow:
    """An Airflow that nothing else shares. Its own interpreter's Airflow, sqlite, all users admins.

    `connections` are given to every component as `AIRFLOW_CONN_<ID>`, so they are never in the database. `settings`
    come on top of `airflow.cfg` as written here, and `{url}` in them is its own URL; what they name can stand in the
    folder `modules`. Processes are ours by a mark (see `processes`): nothing else is ever signalled.
    """

    def __init__(
        self,
        home: Path,
        dags: Path,
        connections: Mapping[str, Mapping[str, object]] | None = None,
        settings: Settings | None = None,
        modules: Path | None = None,
    ) -> None:
        self.home = home
        self.dags = dags
        self._connections = connections or {}
        self._settings = settings or {}
        self._modules = modules
        self._family = Family()
        self._components: dict[str, psutil.Process] = {}
        self._forkserver: subprocess.Popen[str] | None = None

    @property
    def logs(self) -> Path:
        """Where each component's output is; the logs of tasks are in `home / "logs"`."""
        return self.home / "components"

    @cached_property
    def url(self) -> str:
        """Where the UI and the API are."""
        return f"http://127.0.0.1:{free_ports(1)[0]}"

    @cached_property
    def api(self) -> AirflowApi:
        """The REST API; ask only when healthy."""
        return AirflowApi(self.url)

    @cached_property
    def environment(self) -> dict[str, str]:
        """The environment of every component; good for `airflow` commands too."""
        connections = {f"AIRFLOW_CONN_{id_.upper()}": json.dumps(body) for id_, body in self._connections.items()}
        own = {"AIRFLOW_HOME": str(self.home), **({"PYTHONPATH": str(self._modules)} if self._modules else {})}
        return self._family.environment({**outer_environment(), **connections, **own})

    def __enter__(self) -> Self:
        try:
            self.start()
            self.wait_healthy()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self, *components: str) -> None:
        """Start these components, by default all four; the first call also makes the database."""
        if self._forkserver is None:
            self._forkserver = self._start_forkserver()
        for name in components or COMPONENTS:
            self._components[name] = psutil.Process(self._ask_forkserver(name))

    def start_second(self, component: str) -> None:
        """Start one more of a kind, as where Airflow is to survive the loss of one."""
        self._components[f"second {component}"] = psutil.Process(self._ask_forkserver(component))

    def component(self, name: str) -> psutil.Process:
        """Answer with the process of a component."""
        return self._components[name]

    def kill(self, component: str) -> None:
        """End a component and all it has started at once, as when its container is lost."""
        kill_tree(self._components.pop(component))

    def revive(self) -> None:
        """Start again what has ended by itself, as whoever runs an Airflow does: sqlite is locked now and then."""
        for name, process in list(self._components.items()):
            if not is_alive(process):
                self.start(name)

    def wait_healthy(self, patience: float = 90) -> None:
        """Wait until every component says that it is well."""
        eventually(self._healthy, f"Airflow to be healthy; see {self.logs}", patience)
        # The part that workers talk to starts with its first request: better now than inside the first task.
        httpx.get(f"{self.url}/execution/health", timeout=60, trust_env=False).raise_for_status()

    def stop(self, patience: float = 8) -> None:
        """Ask the components to stop, wait, and kill what is left of them."""
        if "api" in self.__dict__:
            self.api.close()
        if self._forkserver and self._forkserver.stdin:
            # It passes the end on to the components. Once only: a second signal makes a scheduler leave its workers.
            self._forkserver.stdin.close()
        self._family.end(patience)

    def task_process(self, pid: int) -> psutil.Process:
        """Find the process that runs a task, by the `pid` of its task instance; its parent is its supervisor."""
        return next(process for process in self._family.members() if process.pid == pid)

    def _healthy(self) -> bool | None:
        """Answer yes or not yet; raise where waiting is of no use."""
        for name, process in self._components.items():
            if not is_alive(process):
                log = self.logs / f"{name.removeprefix('second ')}.log"
                raise RuntimeError(f"{name} has ended:\n{_tail(log)}")
        with suppress(httpx.TransportError):
            answer = httpx.get(f"{self.url}/api/v2/monitor/health", timeout=10, trust_env=False)
            if answer.is_success and all(part["status"] == "healthy" for part in answer.json().values()):
                return True
        return None

    def _start_forkserver(self) -> subprocess.Popen[str]:
        """Start the process that forks the components."""
        self.logs.mkdir(parents=True, exist_ok=True)
        self._write_config()
        with (self.logs / "forkserver.log").open("a") as log:
            return subprocess.Popen(
                (sys.executable, str(Path(__file__).with_name("forkserver.py")), str(self.logs)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self.environment,
                text=True,
                start_new_session=True,  # Ctrl-C is for whoever started us, who stops all in order
            )

    def _ask_forkserver(self, component: str) -> int:
        """Have a component forked; answer with its process id."""
        server = self._forkserver
        if server is None or server.stdin is None or server.stdout is None:
            raise RuntimeError("nothing has been started yet")
        server.stdin.write(f"{component}\n")
        server.stdin.flush()
        if answer := server.stdout.readline():
            return int(answer)
        raise RuntimeError(f"Airflow does not start:\n{_tail(self.logs / 'forkserver.log')}")

    def _write_config(self) -> None:
        """Write `airflow.cfg`, which serves a person's `airflow` commands too; keep the secrets of an earlier start."""
        path, config = self.home / "airflow.cfg", configparser.ConfigParser(interpolation=None)
        config.read_dict(_fresh_secrets())
        config.read(path)
        config.read_dict(self._own_settings())
        config.read_dict(
            {
                name: {key: text.replace("{url}", self.url) for key, text in each.items()}
                for name, each in self._settings.items()
            }
        )
        path.touch(mode=0o600)
        with path.open("w") as file:
            config.write(file)

    def _own_settings(self) -> Settings:
        """Answer with what makes this Airflow private, and quick on a small machine."""
        worker_logs, trigger_logs = (str(port) for port in free_ports(2))
        return {
            "core": {
                "dags_folder": str(self.dags),
                "load_examples": "False",
                "parallelism": "4",  # the default forks 32 idle workers
                "simple_auth_manager_all_admins": "True",
                "execution_api_server_url": f"{self.url}/execution/",
                "test_connection": "Enabled",
            },
            # sqlite has one writer at a time, and on a busy machine five seconds, the default, are not enough for all.
            "database": {"sql_alchemy_conn": f"sqlite:///{self.home}/airflow.db?timeout=60"},
            "api": {"host": "127.0.0.1", "port": self.url.rpartition(":")[2], "base_url": self.url, "workers": "1"},
            # Two servers of logs nobody asked for; on their default ports they collide with another Airflow's.
            "logging": {"worker_log_server_port": worker_logs, "trigger_log_server_port": trigger_logs},
            # Below this a task that resumes at once can overtake the report of its first half, and fails.
            "workers": {"min_heartbeat_interval": "1"},
            "dag_processor": {"refresh_interval": "5"},
            "scheduler": {"scheduler_idle_sleep_time": "0.1"},
        }


def _fresh_secrets() -> Settings:
    """Make up the secrets that all components must agree on, even those that start before `airflow.cfg` could tell."""
    return {
        "core": {"fernet_key": base64.urlsafe_b64encode(os.urandom(32)).decode()},
        "api": {"secret_key": secrets.token_urlsafe(32)},
        "api_auth": {"jwt_secret": secrets.token_urlsafe(64)},
    }


def _tail(path: Path, lines: int = 30) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
