"""Decides whether the next task gets the crew's answer as it is, or only its text.

Airflow reads some keys of an XCom as orders to build an object, and its processes, APIs and databases accept less than
JSON allows. A model wrote the answer: it must not build an object, and must not fail a task whose run is already paid.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from airflow_provider_crewai.wire.model import JSON
from airflow_provider_crewai.wire.values import MAX_DEPTH, cannot_be_stored

SERIALISERS_WORDS = frozenset(
    {
        "__classname__",
        "__version__",
        "__data__",
        "__id__",
        "__cache__",
        # The older keys: Airflow still obeys them, and stores triggers and Dags with them.
        "__type",
        "__var",
        "__source",
    }
)
"""The keys that mark a Python object in Airflow 2.11 to 3.4: `airflow.serialization`, `airflow.sdk.serde`."""

LOWEST, HIGHEST = -(2**63), 2**63 - 1
"""The whole numbers that Airflow's processes can pass to one another (msgpack), and that SQLite does not round."""

KICKOFF_ID = "kickoff_id"
"""The key of the XCom in which the operator pushes its run's id."""

CREW_RUN = "crew_run"
"""The XCom that says what became of the run; see `client.summary`."""

RESERVED_KEYS = frozenset({"return_value", KICKOFF_ID, CREW_RUN})
"""XComs that the task pushes in any case."""

KEY_LENGTH = 250
"""The most characters of an XCom's key that every database can hold."""


def hand_over(task: Any, answer: JSON) -> JSON:
    """Return the crew's answer, or its text if Airflow cannot keep the answer as JSON.

    With `multiple_outputs` each value of an object becomes an XCom of its own; if the answer does not allow that, it is
    returned whole. The task's log says so in both cases.
    """
    if why := _why_text(answer):
        task.log.warning("The crew's answer is returned as a text, because it %s. Read it with json.loads().", why)
        # In a thread, which starts with an empty stack: the answer may be as deep as the decoder could just handle.
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(json.dumps, answer).result()
    if getattr(task, "multiple_outputs", False) and not _is_in_parts(answer):
        task.log.warning("The crew's answer does not fit multiple_outputs, so it is returned whole.")
        task.multiple_outputs = False
    return answer


def _why_text(answer: JSON) -> str | None:
    return next((why for value, depth in _parts(answer) if (why := _why(value, depth))), None)


def _parts(answer: JSON) -> Iterator[tuple[JSON, int]]:
    """Yield all values and keys. Not recursive, because an answer may be deeper than the stack."""
    left: list[tuple[JSON, int]] = [(answer, 1)]
    while left:
        value, depth = left.pop()
        yield value, depth
        if depth > MAX_DEPTH:
            continue
        if isinstance(value, dict):
            left += [(key, depth) for key in value]
            left += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list):
            left += [(item, depth + 1) for item in value]


def _why(value: JSON, depth: int) -> str | None:
    if depth > MAX_DEPTH:
        return f"is more than {MAX_DEPTH} levels deep"
    if isinstance(value, str) and cannot_be_stored(value):
        return "holds a NUL character, or half a character (a lone surrogate)"
    if isinstance(value, dict) and (words := SERIALISERS_WORDS & value.keys()):
        return f"has a key that Airflow uses for its own objects ({', '.join(sorted(words))})"
    if isinstance(value, int | float) and not (LOWEST <= value <= HIGHEST):
        return "holds a number beyond 64 bits"  # PostgreSQL hands 1e20 back as a whole number
    return None


def _is_in_parts(answer: JSON) -> bool:
    return isinstance(answer, dict) and all(map(_is_a_name, answer))


def _is_a_name(key: str) -> bool:
    # It becomes a part of a path.
    return key.replace("-", "_").isidentifier() and len(key) <= KEY_LENGTH and key not in RESERVED_KEYS
