"""`POST /responses`: the shapes of its answers."""

from __future__ import annotations

from collections.abc import Iterator

from .answered import StubReply
from .asked import Ask, Json


def responses_body(ask: Ask, reply: StubReply, name: str) -> Json:
    """Answer in the shape of a response."""
    asked, answered = ask.words(), reply.words()
    return {
        "id": f"resp_{name}",
        "object": "response",
        "created_at": 0,
        "status": "completed",
        "model": ask.model,
        "output": [_output(reply, name)],
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": asked,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": answered,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": asked + answered,
        },
    }


def responses_events(ask: Ask, reply: StubReply, name: str) -> Iterator[Json]:
    """Answer in the shape of a streamed response, word by word."""
    whole, item = responses_body(ask, reply, name), _output(reply, name)
    begun = whole | {"status": "in_progress", "output": [], "usage": None}
    place = {"item_id": item["id"], "output_index": 0}
    kind = "function_call_arguments" if reply.tool else "output_text"
    place |= {} if reply.tool else {"content_index": 0, "logprobs": []}
    events: list[Json] = [{"type": "response.created", "response": begun}]
    events.append({"type": "response.output_item.added", "output_index": 0, "item": item | _EMPTY[item["type"]]})
    events += [{"type": f"response.{kind}.delta", **place, "delta": part} for part in reply.parts()]
    done = {"arguments": reply.text, "name": reply.tool} if reply.tool else {"text": reply.text}
    events.append({"type": f"response.{kind}.done", **place, **done})
    events.append({"type": "response.output_item.done", "output_index": 0, "item": item})
    events.append({"type": "response.completed", "response": whole})
    yield from ({**event, "sequence_number": number} for number, event in enumerate(events))


_EMPTY: dict[str, Json] = {
    "message": {"status": "in_progress", "content": []},
    "function_call": {"status": "in_progress", "arguments": ""},
}


def _output(reply: StubReply, name: str) -> Json:
    if reply.tool:
        called = {"call_id": f"call_{name}", "name": reply.tool, "arguments": reply.text}
        return {"id": f"fc_{name}", "type": "function_call", "status": "completed", **called}
    content = [{"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}]
    return {"id": f"msg_{name}", "type": "message", "role": "assistant", "status": "completed", "content": content}
