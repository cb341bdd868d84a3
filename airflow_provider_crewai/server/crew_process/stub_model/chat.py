"""`POST /chat/completions`: the shapes of its answers."""

from __future__ import annotations

from collections.abc import Iterator

from .answered import StubReply
from .asked import Ask, Json


def chat_body(ask: Ask, reply: StubReply, name: str) -> Json:
    """Answer in the shape of a chat completion."""
    message: Json = {"role": "assistant", "content": None if reply.tool else reply.text, "refusal": None}
    if reply.tool:
        message["tool_calls"] = [_call(reply, name)]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(reply)}
    return _chat(ask, name, "chat.completion", [choice]) | {"usage": _chat_usage(ask, reply)}


def chat_chunks(ask: Ask, reply: StubReply, name: str, *, usage: bool) -> Iterator[Json]:
    """Answer in the shape of a streamed chat completion, word by word."""
    deltas: list[Json] = [{"role": "assistant", "content": None if reply.tool else ""}]
    if reply.tool:
        deltas.append({"tool_calls": [{"index": 0, **_call(StubReply("", reply.tool), name)}]})
        deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": part}}]} for part in reply.parts()]
    else:
        deltas += [{"content": part} for part in reply.parts()]
    for delta in deltas:
        yield _chunk(ask, name, delta, None)
    yield _chunk(ask, name, {}, _finish(reply))
    if usage:
        yield _chat(ask, name, "chat.completion.chunk", []) | {"usage": _chat_usage(ask, reply)}


def _chunk(ask: Ask, name: str, delta: Json, finish: str | None) -> Json:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return _chat(ask, name, "chat.completion.chunk", [choice])


def _chat(ask: Ask, name: str, kind: str, choices: list[Json]) -> Json:
    return {"id": f"chatcmpl-{name}", "object": kind, "created": 0, "model": ask.model, "choices": choices}


def _call(reply: StubReply, name: str) -> Json:
    return {"id": f"call_{name}", "type": "function", "function": {"name": reply.tool, "arguments": reply.text}}


def _finish(reply: StubReply) -> str:
    return "tool_calls" if reply.tool else "stop"


def _chat_usage(ask: Ask, reply: StubReply) -> Json:
    asked, answered = ask.words(), reply.words()
    return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}
