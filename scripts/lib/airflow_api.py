"""What the harness asks of Airflow's REST API: run a Dag, watch it, read what it left behind, be its user."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx

T = TypeVar("T")
Json = dict[str, Any]
FINAL = ("success", "failed")


def eventually(answer: Callable[[], T | None], what: str, patience: float = 60, interval: float = 0.2) -> T:
    """Ask until there is an answer; `what` completes the sentence "waited in vain for ..."."""
    give_up = time.monotonic() + patience
    while True:
        if (found := answer()) is not None:
            return found
        if time.monotonic() > give_up:
            raise TimeoutError(f"waited {patience:.0f} s in vain for {what}")
        time.sleep(interval)


class AirflowApi:
    """Airflow's REST API, as a user who may do everything."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=120, trust_env=False)
        # Where all are admins a token needs no credentials.
        self._http.headers["Authorization"] = f"Bearer {self.get('/auth/token')['access_token']}"

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def call(self, method: str, path: str, body: object = None, **params: str | int | bool) -> Any:
        """Send one request; answer with the JSON that comes back."""
        response = self._http.request(method, path, json=body, params=params)
        if response.is_error:
            raise RuntimeError(f"{method} {path} answered {response.status_code}: {response.text}")
        return response.json()

    def get(self, path: str, **params: str | int | bool) -> Any:
        """Read one resource."""
        return self.call("GET", path, **params)

    def import_errors(self) -> list[str]:
        """Answer with the tracebacks of Dag files that do not load."""
        errors = self.get("/api/v2/importErrors")["import_errors"]
        return [f"{each['filename']}: {each['stack_trace']}" for each in errors]

    def dags(self) -> dict[str, Json]:
        """Answer with all Dags, by id."""
        return {dag["dag_id"]: dag for dag in self.get("/api/v2/dags", exclude_stale=False)["dags"]}

    def wait_for_dag(self, dag_id: str, parsed_since: float = 0, patience: float = 60) -> Json:
        """Wait until a Dag has been parsed, since a moment that matters where the database knows it from earlier."""

        def parsed() -> Json | None:
            if errors := self.import_errors():
                raise RuntimeError("a Dag file does not load:\n" + "\n".join(errors))
            dag = self.dags().get(dag_id)
            when = dag and dag["last_parsed_time"]
            return dag if when and datetime.fromisoformat(when).timestamp() >= parsed_since else None

        return eventually(parsed, f"the Dag {dag_id} to be parsed", patience)

    def trigger(self, dag_id: str, conf: Mapping[str, object] | None = None) -> "DagRun":
        """Start a run of a Dag, as the button in the UI does."""
        dag = f"/api/v2/dags/{dag_id}"
        self.call("PATCH", dag, {"is_paused": False})
        now = datetime.now(tz=UTC).isoformat()
        run_id = f"manual__{now}"
        wanted = {"dag_run_id": run_id, "logical_date": now, "conf": dict(conf or {})}

        def triggered() -> bool | None:
            response = self._http.post(f"{dag}/dagRuns", json=wanted)
            # SQLite lets one write at a time. Where many wait, Airflow answers that its database failed.
            if response.status_code == 500 and "Database error" in response.text:
                return None
            if response.is_error and response.status_code != 409:  # an earlier attempt came through
                raise RuntimeError(f"triggering {dag_id} was answered {response.status_code}: {response.text}")
            return True

        eventually(triggered, f"a run of {dag_id} to be triggered")
        return DagRun(self, dag_id, run_id)


@dataclass(frozen=True)
class Moment:
    """What a Dag run looked like, so many seconds after somebody began to look."""

    elapsed: float
    run: str
    tasks: Mapping[str, str]


@dataclass(frozen=True)
class DagRun:
    """One run of a Dag. A task is named as in the Dag file, an instance of a mapped one by its `map_index` too."""

    api: AirflowApi
    dag_id: str
    run_id: str

    @property
    def path(self) -> str:
        """Where it lives, in the API."""
        return f"/api/v2/dags/{self.dag_id}/dagRuns/{self.run_id}"

    def state(self) -> str:
        """Answer with the state of the run itself."""
        return str(self.api.get(self.path)["state"])

    def tasks(self) -> list[Json]:
        """Answer with all task instances."""
        found: list[Json] = []
        while True:
            page = self.api.get(f"{self.path}/taskInstances", limit=100, offset=len(found))
            found += page["task_instances"]
            if len(found) >= page["total_entries"] or not page["task_instances"]:
                return found

    def count(self, state: str) -> int:
        """Answer with the number of task instances in a state."""
        return int(self.api.get(f"{self.path}/taskInstances", limit=1, state=state)["total_entries"])

    def task(self, task_id: str, map_index: int = -1) -> Json:
        """Answer with one task instance: state, try_number, pid, rendered_fields and so on."""
        return next(each for each in self.tasks() if (each["task_id"], each["map_index"]) == (task_id, map_index))

    def wait_for_task(self, task_id: str, *states: str, map_index: int = -1, patience: float = 60) -> Json:
        """Wait until a task instance is in one of these states."""

        def reached() -> Json | None:
            task = self.task(task_id, map_index)
            return task if task["state"] in states else None

        return eventually(reached, f"{self.dag_id}.{task_id} to be {' or '.join(states)}", patience)

    def watch(self, patience: float = 300, interval: float = 0.2) -> Iterator[Moment]:
        """Look on until the run has ended: one moment for each change of a state."""
        started, last = time.monotonic(), None
        while (elapsed := time.monotonic() - started) < patience:
            # The run first: once it has ended its tasks cannot change any more.
            seen = (self.state(), {_label(task): str(task["state"] or "") for task in self.tasks()})
            if seen != last:
                yield Moment(elapsed, *seen)
            if seen[0] in FINAL:
                return
            last = seen
            time.sleep(interval)
        raise TimeoutError(f"{self.dag_id} still {self.state()} after {patience:.0f} s")

    def wait(self, patience: float = 300) -> str:
        """Wait until the run has ended; answer with its last state."""

        def ended() -> str | None:
            return state if (state := self.state()) in FINAL else None

        return eventually(ended, f"{self.dag_id} to end", patience)

    def xcoms(self, task_id: str, map_index: int = -1) -> Json:
        """Answer with all a task instance has pushed, by key."""
        path = f"{self.path}/taskInstances/{task_id}/xcomEntries"
        keys = [each["key"] for each in self.api.get(path, map_index=map_index)["xcom_entries"]]
        return {key: self.xcom(task_id, key, map_index) for key in keys}

    def xcom(self, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """Answer with one value that a task instance has pushed."""
        path = f"{self.path}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.api.get(path, map_index=map_index, deserialize=True)["value"]

    def links(self, task_id: str, map_index: int = -1) -> Json:
        """Answer with a task instance's extra links: URLs by name."""
        path = f"{self.path}/taskInstances/{task_id}/links"
        links: Json = self.api.get(path, map_index=map_index)["extra_links"]
        return links

    def log(self, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """Answer with the log of one try, a line for each entry."""
        path = f"{self.path}/taskInstances/{task_id}/logs/{try_number}"
        content = self.api.get(path, map_index=map_index, full_content=True)["content"]
        return "\n".join(_log_line(entry) for entry in content)

    def clear(self, *task_ids: str, include_downstream: bool = False, **more: bool) -> None:
        """Run tasks again, as "clear" in the UI does; `more` are boxes that a newer UI has."""
        body = {
            "dry_run": False,
            "only_failed": False,
            "dag_run_id": self.run_id,
            "task_ids": list(task_ids),
            "include_downstream": include_downstream,
            **more,
        }
        self.api.call("POST", f"/api/v2/dags/{self.dag_id}/clearTaskInstances", body)

    def clear_all(self) -> None:
        """Run the whole of it again."""
        self.api.call("POST", f"{self.path}/clear", {"dry_run": False, "only_failed": False})

    def mark_task(self, task_id: str, state: str, map_index: int = -1) -> None:
        """Set the state of a task instance, as "mark as ..." in the UI does."""
        path = f"{self.path}/taskInstances/{task_id}"
        self.api.call("PATCH", path if map_index < 0 else f"{path}/{map_index}", {"new_state": state})

    def mark(self, state: str) -> None:
        """Set the state of the run."""
        self.api.call("PATCH", self.path, {"state": state})


def _label(task: Json) -> str:
    name = str(task["task_id"])
    return name if task["map_index"] < 0 else f"{name}[{task['map_index']}]"


def _log_line(entry: Json | str) -> str:
    """Say what an entry says: time, level, text, and the errors it came with."""
    if isinstance(entry, str):
        return entry
    errors = [f"{error.get('exc_type')}: {error.get('exc_value')}" for error in entry.get("error_detail") or ()]
    words = (entry.get("timestamp"), entry.get("level"), entry.get("event"))
    return "\n    ".join([" ".join(str(word) for word in words if word), *errors])
