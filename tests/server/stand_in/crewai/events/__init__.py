"""What a crew tells of itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any


@dataclass
class TaskStartedEvent:
    task: Any
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))
    type: str = "task_started"


@dataclass
class TaskCompletedEvent:
    task: Any
    output: Any
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))
    type: str = "task_completed"


class LLMCallCompletedEvent:
    """No model tells of its calls."""


class ToolUsageFinishedEvent:
    """No tool is ever used."""


Handler = Callable[[Any, Any], None]


class Bus:
    def __init__(self) -> None:
        self._handlers: defaultdict[type, list[Handler]] = defaultdict(list)

    def register_handler(self, kind: type, handler: Handler) -> None:
        self._handlers[kind].append(handler)

    def on(self, kind: type) -> Callable[[Handler], None]:
        return lambda handler: self.register_handler(kind, handler)

    def emit(self, event: Any) -> None:
        for handler in self._handlers[type(event)]:
            handler(None, event)

    def flush(self) -> None:
        """Nothing is on its way: handlers are called at once."""


crewai_event_bus = Bus()
