"""A turn of a chat with a conversational flow: crewai's own, from the state that the turn before left behind."""

from __future__ import annotations

from typing import Any


def is_conversational(flow: Any) -> bool:
    """Return whether one chats with a flow."""
    return bool(flow._is_conversational_enabled())  # noqa: SLF001 - of a flow from YAML nothing else tells (1.15.2 to 1.15.30)


def take_turn(flow: Any, chat: dict[str, Any]) -> Any:
    """Give a flow a user's message. Returns its result, or crewai's mark of a flow that waits for a human.

    :param chat: the `session_id` of the chat, by which the state of all its turns is kept, and the `message`.
    :raises BaseException: whatever the flow raises.
    """
    from crewai.flow.async_feedback.types import HumanFeedbackPending
    from crewai.flow.persistence.factory import default_flow_persistence

    if flow.persistence is None:  # its author did not ask for any, and a session lives in one process there
        flow.persistence = default_flow_persistence()
    result = flow.handle_turn(chat["message"], session_id=chat["session_id"])
    if not isinstance(result, HumanFeedbackPending):
        # With the answer, which crewai adds after the last method.
        state = flow._copy_and_serialize_state()  # noqa: SLF001 - what crewai itself keeps (1.15.2 to 1.15.30)
        flow.persistence.save_state(chat["session_id"], "handle_turn", state)
    return result
