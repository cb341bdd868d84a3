"""Airflow in memory: the Task SDK's own task runner, with a supervisor that keeps everything in dictionaries.

What runs is what runs in a worker (`airflow.sdk.execution_time.task_runner.run`): templates, timeouts, XComs, the
task state store, retries. What is ours here is only the other end of its socket, and the life of a task instance
between two of its tries, as the scheduler and the api-server of Airflow 3.3.2 give it.
"""

from __future__ import annotations

import asyncio
import json
import signal
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, singledispatchmethod
from importlib import import_module
from typing import Any

import airflow
import structlog
from airflow.sdk import DAG
from airflow.sdk.api.datamodels import _generated as api
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import comms, task_runner
from airflow.sdk.serde import deserialize, serialize

# It makes one for each templated field of each try, a sixth of all that these tests cost; one for each type does as well.
task_runner.TypeAdapter = cache(task_runner.TypeAdapter)  # type: ignore[misc,assignment]  # a class of theirs

VERSION = tuple(map(int, airflow.__version__.split(".")[:2]))
LOGICAL_DATE = datetime(2026, 1, 5, tzinfo=UTC)
Key = tuple[str, str, str, int]
"""Dag, run, task and map index: what XComs and records are kept by."""


class Killed(BaseException):
    """The worker's end: nothing of ours catches it, so nothing of ours runs after it, as when a process dies."""


class UnheardOfError(AssertionError):
    """A message that a worker's supervisor does not know."""


class WouldBlockError(AssertionError):
    """A synchronous request from a running event loop: in a triggerer it would raise or stop every trigger."""


@dataclass
class Airflow:
    """A supervisor's answers.

    :param broken: names of the messages that the api-server answers with an error.
    :param has_state_store: False below Airflow 3.3.
    :param before: called with each message before it is answered; may raise what ends the worker.
    :param asked: all that was asked for, in order.
    :param logs: gives the list that collects what is logged while it is open.
    """

    connections: dict[str, dict[str, Any]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    has_state_store: bool = True
    before: Callable[[Any], None] | None = None
    asked: list[object] = field(default_factory=list)
    logs: Callable[[], AbstractContextManager[list[Any]]] = structlog.testing.capture_logs
    xcoms: dict[tuple[Key, str], Any] = field(default_factory=dict)
    records: dict[tuple[Key, str], Any] = field(default_factory=dict)
    expiries: dict[str, datetime | None] = field(default_factory=dict)
    instances: dict[uuid.UUID, TaskInstance] = field(default_factory=dict)
    actions: dict[Key, Action] = field(default_factory=dict)
    refreshes_forms: bool = field(default_factory=lambda: VERSION >= (3, 4))

    def task(self, task: Any, **life: Any) -> TaskInstance:
        """Take a task into this Airflow."""
        return TaskInstance(self, task, **life)

    def count(self, kind: type) -> int:
        """Return how many messages of a kind were sent."""
        return sum(isinstance(message, kind) for message in self.asked)

    @contextmanager
    def connected(self) -> Iterator[Airflow]:
        """Be the supervisor of whatever runs in this process."""
        before = getattr(task_runner, "SUPERVISOR_COMMS", None)
        task_runner.SUPERVISOR_COMMS = self
        try:
            yield self
        finally:
            if before is None:
                del task_runner.SUPERVISOR_COMMS
            else:
                task_runner.SUPERVISOR_COMMS = before

    def send(self, msg: Any) -> Any:
        """Answer a task. Of its Required Action, it may only ask for one: its supervisor knows no more."""
        if isinstance(msg, comms.GetHITLDetailResponse | comms.UpdateHITLDetail):
            raise UnheardOfError(type(msg).__name__)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._answer(msg)
        raise WouldBlockError(type(msg).__name__)

    async def asend(self, msg: Any) -> Any:
        """Answer a trigger, which asks from an event loop."""
        await asyncio.sleep(0)
        return self._answer(msg)

    def _answer(self, message: Any) -> Any:
        self.asked.append(message)
        if self.before:
            self.before(message)
        name = type(message).__name__
        if name in self.broken:
            detail = {"status_code": 500, "message": "the database is away"}
            raise AirflowRuntimeError(comms.ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail))
        return self.answer(message)

    @singledispatchmethod
    def answer(self, _: Any) -> Any:
        """Answer one message. What is only reported is believed."""
        return comms.OKResponse(ok=True)

    @answer.register
    def _(self, message: comms.GetConnection) -> Any:
        fields = self.connections.get(message.conn_id)
        if fields is None:
            return comms.ErrorResponse(error=ErrorType.CONNECTION_NOT_FOUND, detail={"conn_id": message.conn_id})
        empty = dict.fromkeys(("host", "schema", "login", "password", "port", "extra"))
        extra = fields.get("extra")
        text = {} if extra is None else {"extra": extra if isinstance(extra, str) else json.dumps(extra)}
        return comms.ConnectionResult.model_validate({"conn_id": message.conn_id, **empty, **fields, **text})

    @answer.register
    def _(self, message: comms.SetXCom) -> Any:
        self.xcoms[_key(message), message.key] = _as_stored(message.value)
        return comms.OKResponse(ok=True)

    @answer.register
    def _(self, message: comms.GetXCom) -> Any:
        return comms.XComResult(key=message.key, value=self.xcoms.get((_key(message), message.key)))

    @answer.register
    def _(self, message: comms.GetXComSequenceSlice) -> Any:
        return comms.XComSequenceSliceResult(root=self._of_all_instances(message))

    @answer.register
    def _(self, message: comms.GetXComCount) -> Any:
        return comms.XComCountResponse(len=len(self._of_all_instances(message)))

    @answer.register
    def _(self, message: comms.GetXComSequenceItem) -> Any:
        found = self._of_all_instances(message)
        if not -len(found) <= message.offset < len(found):
            return comms.ErrorResponse(error=ErrorType.XCOM_NOT_FOUND, detail={"offset": message.offset})
        return comms.XComSequenceIndexResult(root=found[message.offset])

    def _of_all_instances(self, message: Any) -> list[Any]:
        wanted = (message.dag_id, message.run_id, message.task_id)
        found = {
            key[3]: value for (key, name), value in self.xcoms.items() if (*key[:3], name) == (*wanted, message.key)
        }
        return [found[index] for index in sorted(found)]

    @answer.register
    def _(self, message: comms.DeleteXCom) -> Any:
        self.xcoms.pop((_key(message), message.key), None)
        return comms.OKResponse(ok=True)

    @answer.register
    def _(self, message: comms.GetTaskStateStore) -> Any:
        found = (self.instances[message.ti_id].key, message.key)
        if found not in self.records:
            return comms.ErrorResponse(error=ErrorType.TASK_STORE_NOT_FOUND, detail={"key": message.key})
        return comms.TaskStateStoreResult(value=self.records[found])

    @answer.register
    def _(self, message: comms.SetTaskStateStore) -> Any:
        self.records[self.instances[message.ti_id].key, message.key] = _as_stored(message.value)
        self.expiries[message.key] = message.expires_at
        return comms.OKResponse(ok=True)

    @answer.register
    def _(self, message: comms.DeleteTaskStateStore) -> Any:
        self.records.pop((self.instances[message.ti_id].key, message.key), None)
        return comms.OKResponse(ok=True)

    @answer.register
    def _(self, message: comms.CreateHITLDetailPayload) -> Any:
        key = self.instances[message.ti_id].key
        kept = self.actions.get(key, Action(message))
        form = message if self.refreshes_forms else kept.form
        self.actions[key] = Action(form, asked=kept.asked + 1)
        return comms.HITLDetailRequestResult(**message.model_dump(exclude={"type"}))

    @answer.register
    def _(self, message: comms.GetHITLDetailResponse) -> Any:
        action = self._action(message.ti_id)
        return api.HITLDetailResponse(
            response_received=action.response is not None,
            **(action.response or {"responded_at": None, "chosen_options": []}),
        )

    @answer.register
    def _(self, message: comms.UpdateHITLDetail) -> Any:
        action = self._action(message.ti_id)
        if action.response is not None:
            raise _refused(409)
        said = {"chosen_options": message.chosen_options, "params_input": message.params_input}
        action.response = {**said, "responded_at": datetime.now(UTC), "responded_by_user": None}
        return api.HITLDetailResponse(response_received=True, **action.response)

    def _action(self, ti_id: uuid.UUID) -> Action:
        action = self.actions.get(self.instances[ti_id].key)
        if action is None:
            raise _refused(404)
        return action

    @answer.register
    def _(self, message: comms.GetTaskStates) -> Any:
        states: dict[str, dict[str, str | None]] = {}
        for ti in self.instances.values():
            is_asked_for = ti.task.dag_id == message.dag_id and ti.task.task_id in (message.task_ids or [])
            if is_asked_for and message.map_index in (None, -1, ti.map_index):
                name = f"{ti.task.task_id}_{ti.map_index}" if ti.map_index >= 0 else ti.task.task_id
                states.setdefault(ti.run_id, {})[name] = ti.state
        return comms.TaskStatesResult(task_states=states)


@dataclass
class Action:
    """A Required Action: the form, and the response to it."""

    form: Any
    response: dict[str, Any] | None = None
    asked: int = 0


def _refused(status: int) -> AirflowRuntimeError:
    detail = {"status_code": status, "message": "refused"}
    return AirflowRuntimeError(comms.ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail))


@dataclass(frozen=True)
class Outcome:
    """How one stay of a task in a worker ended.

    :param state: the word that the database would hold.
    :param message: what the supervisor was told at the end.
    :param log: what the task wrote.
    :param verdict: the errors among it.
    """

    state: str
    message: Any
    error: BaseException | None
    log: tuple[str, ...]
    verdict: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """What a user reads of its end: the lines of errors in the log, and the exception."""
        return " ".join([*map(str.strip, self.verdict), str(self.error or "")])

    @property
    def text(self) -> str:
        """What a user reads: the log and the error."""
        return "\n".join([*self.log, str(self.error or "")])


@dataclass
class TaskInstance:
    """A task instance through all its tries.

    :param task: may be replaced between two tries, as when somebody edits the Dag file.
    :param logical_date: None for a Dag run that an asset or the API started without one (Airflow 3).
    :param start_date: when the present try began; kept over deferrals.
    :param ran: the task as it ran last: listeners are given that one.
    """

    airflow: Airflow
    task: Any
    run_id: str = "manual__1"
    map_index: int = -1
    conf: dict[str, Any] = field(default_factory=dict)
    logical_date: datetime | None = LOGICAL_DATE
    try_number: int = 0
    max_tries: int = 0
    state: str | None = None
    start_date: datetime = LOGICAL_DATE
    dag_run_began: datetime = LOGICAL_DATE
    dag_run_clears: int = 0
    outcome: Outcome | None = None
    ran: Any = None

    def __post_init__(self) -> None:
        self._adopt(self.task)
        self.max_tries = self.task.retries
        self._id = uuid.uuid4()

    @property
    def key(self) -> Key:
        """What its XComs and records are kept by."""
        return (self.task.dag_id, self.run_id, self.task.task_id, self.map_index)

    @property
    def answer(self) -> Any:
        """What the task returned."""
        return self.xcom("return_value")

    @property
    def record(self) -> Any:
        """What stands in the task state store, or None."""
        return self.airflow.records.get((self.key, "crewai_run"))

    def xcom(self, key: str) -> Any:
        """Return an XCom of this task instance, or None."""
        return self.airflow.xcoms.get((self.key, key))

    def edit(self, task: Any) -> None:
        """Let the next try find another task in the Dag file."""
        self._adopt(task)
        self.task = task

    def clear(self) -> None:
        """Do what Airflow does when a user clears the task instance: it may be tried as often as at first, again."""
        self.max_tries = self.try_number + self.task.retries
        self.dag_run_clears += 1
        self.state = None

    def run(self, *, started: timedelta = timedelta(0)) -> Outcome:
        """Try it once, the first time or again.

        :param started: how long ago the try began.
        """
        self.try_number += 1
        self._id = uuid.uuid4()
        self.start_date = datetime.now(UTC) - started
        mine = [name for key, name in self.airflow.xcoms if key == self.key]
        return self._work(xcom_keys_to_clear=mine)

    def resume(self, event: Any) -> Outcome:
        """Come back from a deferral with a trigger's event, as if some worker picked it up."""
        assert self.outcome
        assert self.state == "deferred", self.state
        kwargs = deserialize(self.outcome.message.next_kwargs)
        travelled = serialize({**kwargs, "event": event})
        return self._work(next_method=self.outcome.message.next_method, next_kwargs=_as_stored(travelled))

    def resume_failed(self, error: str = "Trigger failure", traceback: list[str] | None = None) -> Outcome:
        """Come back from a deferral whose trigger crashed, could not be made, or was timed out by Airflow."""
        assert self.state == "deferred", self.state
        failure = {"error": error, **({"traceback": traceback} if traceback else {})}
        return self._work(next_method="__fail__", next_kwargs=serialize(failure))

    def trigger(self) -> Any:
        """Make the trigger that the task deferred to, from what the database holds of it."""
        assert self.outcome
        module, _, name = self.outcome.message.classpath.rpartition(".")
        arguments = deserialize(_as_stored(self.outcome.message.trigger_kwargs))
        trigger = getattr(import_module(module), name)(**arguments)
        trigger.task_instance = self._runtime()
        return trigger

    def fire(self) -> Any:
        """Run that trigger until it fires, and return the event's payload."""
        with self.airflow.connected():
            return asyncio.run(only_event(self.trigger()))

    @property
    def action(self) -> Any:
        """The Required Action of this task instance."""
        return self.airflow.actions.get(self.key)

    @property
    def form(self) -> Any:
        """What a person sees of it."""
        return self.action.form

    def respond(self, option: str, text: str | None = "", by: str = "anna") -> Any:
        """Let a person respond to it. Returns what wakes the task, if it is deferred and a response does that."""
        assert option in self.form.options
        assert self.action.response is None, "409: somebody has responded"
        user = {"id": by, "name": by}
        said = {"chosen_options": [option], "params_input": {"feedback": text}, "responded_by_user": user}
        self.action.response = {**said, "responded_at": datetime.now(UTC)}
        return {**self.action.response, "timedout": False}

    def finish(self, **how: Any) -> Outcome:
        """Try it once, over all deferrals."""
        self.run(**how)
        return self.finish_from_here()

    def finish_from_here(self) -> Outcome:
        """Let it live on over all deferrals."""
        assert self.outcome
        while self.outcome.state == "deferred":
            self.resume(self.fire())
        return self.outcome

    def _adopt(self, task: Any) -> None:
        if not task.has_dag():
            DAG("briefs", schedule=None, start_date=LOGICAL_DATE).add_task(task)

    def _work(self, **server_says: Any) -> Outcome:
        self.airflow.instances[self._id] = self
        self.state = "running"
        ti = self._runtime(**server_says)
        handler = signal.getsignal(signal.SIGTERM)
        try:
            with self.airflow.connected(), self.airflow.logs() as written:
                context = ti.get_template_context()
                if not self.airflow.has_state_store:
                    del context["task_state_store"]
                state, message, error = task_runner.run(ti, context, structlog.get_logger("task"))
        finally:
            signal.signal(signal.SIGTERM, handler)
        self.state, self.ran = state.value, ti.task
        lines = tuple(str(line["event"]) for line in written)
        verdict = tuple(str(line["event"]) for line in written if is_ours(line))
        self.outcome = Outcome(state.value, message, error, lines, verdict)
        return self.outcome

    def _runtime(self, **server_says: Any) -> Any:
        return task_runner.RuntimeTaskInstance.model_construct(
            id=self._id,
            task_id=self.task.task_id,
            dag_id=self.task.dag_id,
            run_id=self.run_id,
            try_number=self.try_number,
            map_index=self.map_index,
            is_mapped=self.map_index >= 0,
            dag_version_id=uuid.uuid4(),
            hostname="worker",
            context_carrier={},
            queue="default",
            pool_slots=1,
            priority_weight=1,
            task=self.task,
            bundle_instance=None,
            max_tries=self.max_tries,
            start_date=self.start_date,
            state=api.TaskInstanceState.RUNNING,
            _ti_context_from_server=api.TIRunContext(
                dag_run=self._dag_run(),
                max_tries=self.max_tries,
                should_retry=self.max_tries != 0 and self.try_number <= self.max_tries,
                **server_says,
            ),
        )

    def _dag_run(self) -> Any:
        return api.DagRun(
            dag_id=self.task.dag_id,
            run_id=self.run_id,
            logical_date=self.logical_date,
            data_interval_start=self.logical_date,
            data_interval_end=self.logical_date,
            run_after=LOGICAL_DATE,
            start_date=self.dag_run_began,
            clear_number=self.dag_run_clears,
            end_date=None,
            run_type="manual",
            state="running",
            conf=self.conf,
            consumed_asset_events=[],
            partition_key=None,
        )


def is_ours(line: Mapping[str, Any]) -> bool:
    """Return whether a line of the log is an error, and no traceback of Airflow's."""
    return line.get("log_level") == "error" and "exc_info" not in line


async def only_event(trigger: Any) -> Any:
    """Run a trigger to its end, as a triggerer does, and return the payload of its only event."""
    events = [event async for event in trigger.run()]
    await trigger.cleanup()
    assert len(events) == 1, events
    return events[0].payload


def _key(message: Any) -> Key:
    return (message.dag_id, message.run_id, message.task_id, -1 if message.map_index is None else message.map_index)


def _as_stored(value: Any) -> Any:
    """Return a value as it comes back from a JSON column."""
    return json.loads(json.dumps(value, allow_nan=False))
