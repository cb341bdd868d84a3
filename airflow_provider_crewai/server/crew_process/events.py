"""Webhooks of a run: turns its events into requests, with the bodies that deployments send.

The bodies follow CrewAI's guides "Webhook Automation", "Webhook Streaming" and "Flow HITL Management". Where live
deployments differ from the guides (crewai 1.15.22, October 2026), the bodies follow the deployments.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import functools
import importlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time, timezone
from typing import Any

from .storable import as_json

Send = Callable[[str, "dict[str, str]", "dict[str, Any]"], None]
"""Takes a URL, headers and a body, which is plain JSON."""

SIGNED = {"X-Signature": "sha256"}
"""Headers that ask the outbox to sign a request when it delivers it, with the server's key."""

_BATCH = 20
_BATCH_SECONDS = 2.0
_LONGEST_TEXT = 32_768  # characters, in a streamed event

_ACTORS = {
    "crewai": ("Crew", "Task", "Flow", "BaseLLM"),
    "crewai.agents.agent_builder.base_agent": ("BaseAgent",),
    "crewai.tools.base_tool": ("BaseTool",),
    "crewai.tools.structured_tool": ("CrewStructuredTool",),
}


@dataclasses.dataclass(frozen=True)
class _Target:
    url: str
    headers: dict[str, str] = dataclasses.field(repr=False)


class Webhooks:
    """The webhooks that a kickoff asked for, and no others.

    Events arrive on threads of crewai, so each method may be called from any thread.

    :param kickoff_id: the run.
    :param request: the kickoff's body.
    :param send: takes each request, from several threads.
    :param flow_webhook: is told of each question of a flow, whatever the kickoff asked for. On the live service such a
        URL is a setting of the deployment.
    """

    def __init__(self, kickoff_id: str, request: Mapping[str, Any], send: Send, flow_webhook: str = "") -> None:
        self._kickoff_id = kickoff_id
        self._meta = request.get("meta") or {}
        self._send = send
        self._bus: Any = None
        self._task, self._step, self._crew, plain = (
            _target({"url": request.get(name)})
            for name in ("taskWebhookUrl", "stepWebhookUrl", "crewWebhookUrl", "humanInputWebhookUrl")
        )
        self._human = _target(request.get("humanInputWebhook")) or plain
        self._flow = _target({"url": flow_webhook})
        stream = _target(request.get("webhooks"))
        self._stream = _Stream(kickoff_id, request["webhooks"], stream, send) if stream else None

    def listen(self, bus: Any) -> None:
        """Send the task, step and streaming webhooks from now on, for all crews and flows of this process.

        :param bus: `crewai.events.crewai_event_bus`.
        """
        self._bus = bus
        events = importlib.import_module("crewai.events.event_types")
        if self._task:
            bus.register_handler(events.TaskCompletedEvent, self._task_completed)
        if self._step:
            bus.register_handler(events.ToolUsageFinishedEvent, self._tool_used)
        for kind, name in _kinds() if self._stream else ():
            if self._stream and self._stream.wants(name):
                bus.register_handler(kind, self._happened)

    def flush(self) -> None:
        """Send the events that are still on their way. Call it when the run has ended, however it ended."""
        if self._bus:
            self._bus.flush()
        if self._stream:
            self._stream.flush()

    # ---- the requests -----------------------------------------------------------------------------

    def task(self, output: Any) -> None:
        """Report a finished crew task. `listen` calls this for each.

        :param output: crewai's `TaskOutput`.
        """
        self._post(self._task, task_fields(output) | self._signature())

    def step(self, fields: Mapping[str, Any]) -> None:
        """Report the use of a tool. `listen` calls this for each.

        :param fields: the fields from `step_fields`.
        """
        self._post(self._step, {**fields, **self._signature()})

    def crew(self, result: str, result_json: Any, token_usage: Any) -> None:
        """Report that the run has succeeded. Deployments report no other ending.

        :param token_usage: crewai's `UsageMetrics` or its fields.
        """
        answer = {"result": result, "result_json": result_json, "token_usage": token_usage}
        self._post(self._crew, {"kickoff_id": self._kickoff_id, **answer, "meta": self._meta})

    def human_input(self, question_id: str, task_output: str) -> None:
        """Report that a crew task waits for a human.

        :param question_id: the id that the answer must hold.
        :param task_output: the output that the human should judge.
        """
        ids = {"kickoff_id": self._kickoff_id, "execution_id": self._kickoff_id, "task_id": question_id}
        self._post(self._human, {**ids, "task_output": task_output, "meta": self._meta})

    def flow_feedback(self, question_id: str, context: Any, state: Any, deployment: str, callback_url: str) -> None:
        """Report that a flow waits for a human, in a signed request to each webhook for that.

        :param question_id: the id of the request for feedback.
        :param context: crewai's `PendingFeedbackContext`.
        :param state: the flow's state.
        :param deployment: the name of the project.
        :param callback_url: the URL that takes the answer `{"feedback", "source"}`.
        """
        request = {
            "id": question_id,
            "flow_id": self._kickoff_id,
            "state": state,
            "created_at": utc(datetime.now(timezone.utc)),  # noqa: UP017 - Python 3.10 has no datetime.UTC
        }
        body = {
            "event": "new_request",
            "request": _plain(request | _feedback_fields(context)),
            "deployment": {"id": None, "name": deployment, "organization_id": None},
            "callback_url": callback_url,
            "assigned_to_email": None,
        }
        for target in (self._human, self._flow):
            self._post(target, body, SIGNED)

    def _signature(self) -> dict[str, Any]:
        return {"kickoff_id": self._kickoff_id, "meta": self._meta}

    def _post(self, target: _Target | None, body: dict[str, Any], headers: Mapping[str, str] = {}) -> None:
        if target:
            self._send(target.url, {**target.headers, **headers}, _plain(body))

    # ---- the events -------------------------------------------------------------------------------

    def _task_completed(self, _: Any, event: Any) -> None:
        if not is_replayed():
            self.task(event.output)

    def _tool_used(self, source: Any, event: Any) -> None:
        if not is_replayed() and (fields := step_fields(source, event)):
            self.step(fields)

    def _happened(self, _: Any, event: Any) -> None:
        if self._stream and not is_replayed():
            self._stream.add(event)


def _feedback_fields(context: Any) -> dict[str, Any]:
    return {
        "method_name": context.method_name,
        "message": context.message,
        "emit_options": context.emit or [],
        "metadata": context.metadata,
        "output": context.method_output,
    }


def task_fields(output: Any) -> dict[str, Any]:
    """Return what a webhook says of a finished crew task, without the run's own keys.

    :param output: crewai's `TaskOutput`.
    """
    return {
        "description": output.description,
        "name": output.name,
        "expected_output": output.expected_output,
        "summary": output.summary,
        "agent": output.agent.strip(),
        "output": output.raw,
        "output_json": output.to_dict() or None,
    }


def step_fields(source: Any, event: Any) -> dict[str, Any] | None:
    """Return what a webhook says of the use of a tool, without the run's own keys.

    Only an agent that writes its calls as text has a thought (crewai's `AgentAction`, 1.15.2 to 1.15.30).

    :param source: the source of a `ToolUsageFinishedEvent`.
    :param event: that event.
    :returns: None if another event reports the same call.
    """
    if type(source).__name__ == "StepExecutor" and not source._use_native_tools:  # noqa: SLF001 - no public way to tell
        return None  # a planning agent reports a call in text after the tool itself did (crewai 1.15.2 to 1.15.30)
    task, action = getattr(source, "task", None), getattr(source, "action", None)
    return {
        "prompt": getattr(task, "description", event.task_name),
        "thought": getattr(action, "thought", "").removeprefix("Thought:").strip(),
        "tool": event.tool_name,
        "tool_input": getattr(action, "tool_input", None) or _text(event.tool_args),
        "result": str(event.output),
    }


class _Stream:
    # Sends the events that the kickoff asked for, one by one or in batches.

    def __init__(self, kickoff_id: str, wish: Mapping[str, Any], target: _Target, send: Send) -> None:
        self._kickoff_id = kickoff_id
        self._names = wish.get("events")
        self._most = 1 if wish.get("realtime") else _BATCH
        self._target = target
        self._send = send
        self._lock = threading.Lock()
        self._batch: list[tuple[datetime, dict[str, Any]]] = []
        self._timer: threading.Timer | None = None

    def wants(self, name: str) -> bool:
        return self._names is None or name in self._names

    def add(self, event: Any) -> None:
        happened = (event.timestamp, self._body(event))
        with self._lock:
            self._batch.append(happened)
            if len(self._batch) >= self._most:
                self._post()
            elif not self._timer:
                self._timer = threading.Timer(_BATCH_SECONDS, self.flush)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        with self._lock:
            self._post()

    def _post(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._batch:
            # A pool of crewai's threads delivers the events out of order, and their numbers restart with each crew.
            batch = [body for _, body in sorted(self._batch, key=lambda happened: happened[0])]
            self._batch = []
            self._send(self._target.url, self._target.headers, {"events": batch})

    def _body(self, event: Any) -> dict[str, Any]:
        fields = {name: value for name, value in event if value is not None}
        head = {"id": fields.pop("event_id"), "execution_id": self._kickoff_id}
        head |= {"timestamp": utc(fields.pop("timestamp")), "type": fields.pop("type")}
        return {**head, "data": _shortened(_plain(fields))}


def _kinds() -> Iterator[tuple[type, str]]:
    # As crewai's own `state/checkpoint_listener.py` finds them: the bus takes no handler for all events.
    waiting = [importlib.import_module("crewai.events.base_events").BaseEvent]
    seen = set(waiting)
    while waiting:
        kinds = set(waiting.pop().__subclasses__()) - seen
        waiting += kinds
        seen |= kinds
        for kind in kinds:
            if isinstance(name := kind.model_fields["type"].default, str):
                yield kind, name


def is_replayed() -> bool:
    """Return whether crewai tells of an event again that an earlier process of the run has told of."""
    # crewai replays the old events of a run that resumes from a checkpoint.
    return bool(importlib.import_module("crewai.events.event_bus").is_replaying())


# ---- what the kickoff asked for -------------------------------------------------------------------


def _target(wish: Any) -> _Target | None:
    # The vendor's dashboard sends empty strings for webhooks that nobody wants.
    url = wish.get("url") if isinstance(wish, Mapping) else None
    return _Target(url, _authorization(wish.get("authentication"))) if url and isinstance(url, str) else None


def _authorization(wish: Any) -> dict[str, str]:
    if not isinstance(wish, Mapping):
        return {}
    if wish.get("strategy") == "bearer":
        return {"Authorization": f"Bearer {wish.get('token')}"}
    if wish.get("strategy") == "basic":
        pair = f"{wish.get('username')}:{wish.get('password')}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return {}


# ---- plain JSON -----------------------------------------------------------------------------------


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields as plain JSON, one by one, so that a field that cannot be written spoils no other."""
    return {name: as_json(value, _plainer) for name, value in fields.items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(as_json(value, _plainer), ensure_ascii=False)


def _plainer(value: Any) -> Any:
    for kinds, plainer in _plainers():
        if isinstance(value, kinds):
            return plainer(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return getattr(value, "__name__", None) or str(value)


@functools.cache
def _plainers() -> tuple[tuple[Any, Callable[[Any], Any]], ...]:
    actors = [getattr(importlib.import_module(module), name) for module, names in _ACTORS.items() for name in names]
    return (
        (tuple(actors), _name),
        (importlib.import_module("pydantic").BaseModel, _fields),
        (enum.Enum, lambda value: value.value),
        ((date, time), lambda value: value.isoformat()),
        ((set, frozenset), list),
        (bytes, lambda value: f"<{len(value)} bytes>"),
        (Mapping, dict),
    )


def _name(actor: Any) -> str:
    # Agents, models and tools hold keys and whole crews, so only their names are sent.
    names = (getattr(actor, name, None) for name in ("role", "name", "description", "model"))
    return next((name.strip() for name in names if name and isinstance(name, str)), type(actor).__name__)


def _fields(model: Any) -> dict[str, Any]:
    hidden = {name for name, field in type(model).model_fields.items() if field.exclude}
    return {name: value for name, value in model if name not in hidden}


def _shortened(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        return f"{value[:_LONGEST_TEXT]}… ({len(value)} characters)"
    if isinstance(value, list):
        return [_shortened(one) for one in value]
    if isinstance(value, dict):
        return {name: _shortened(one) for name, one in value.items()}
    return value


def utc(moment: datetime) -> str:
    """Write a time as the live service does."""
    utc = moment.astimezone(timezone.utc)  # noqa: UP017 - Python 3.10 has no datetime.UTC
    return utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")
