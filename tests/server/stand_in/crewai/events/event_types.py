"""The kinds of events."""

from crewai.events import TaskCompletedEvent, TaskStartedEvent, ToolUsageFinishedEvent

__all__ = ["TaskCompletedEvent", "TaskStartedEvent", "ToolUsageFinishedEvent"]
