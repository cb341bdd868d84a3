"""Decides what the next task gets of the crew's answer: all of it, its text, or the manifest of a file that holds it.

Airflow reads some keys of an XCom as orders to build an object, and its processes, APIs and databases accept less than
JSON allows. A model wrote the answer: it must not build an object, and must not fail a task whose run is already paid.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airflow_provider_crewai.client.rendered import is_nothing
from airflow_provider_crewai.in_airflow.answer_files import MARK, json_text, keep, size_of
from airflow_provider_crewai.wire.errors import CrewAnswerNotStored
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

CREW_ANSWER = "crew_answer"
"""The XCom that holds the answer of a task that fails although its run succeeded: the answer is paid for."""

CREW_BATCH = "crew_batch"
"""The XCom that says where a batch is, and which of its items have no answer; see `client.batch_messages`."""

CREW_BATCH_ID = "crew_batch_id"
"""The XCom that says which batch the present try works on."""

CREW_QUESTION = "crew_question"
"""The XCom in which a deployment's calls bring what the run asks; see `mailbox`."""

CALLS_HOME = "crewai_call_home"
"""The XCom of the calls that name a run, and their key in the task state store."""

RESERVED_KEYS = frozenset(
    {"return_value", KICKOFF_ID, CREW_RUN, CREW_ANSWER, CREW_BATCH, CREW_BATCH_ID, CREW_QUESTION, CALLS_HOME}
)
"""XComs that the task itself pushes, or the api-server for it."""

KEY_LENGTH = 250
"""The most characters of an XCom's key that every database can hold."""


def hand_over(task: Any, answer: JSON, kickoff_id: str) -> JSON:
    """Return what the next task gets: the crew's answer, its text, or the manifest of the file that holds it.

    With `multiple_outputs` each value of an object becomes an XCom of its own; if the answer does not allow that, it is
    returned whole. The task's log says so in each case.

    :raises CrewAnswerNotStored: the answer is too large for XCom and could not be written to `result_path`.
    """
    returned = _in_a_file(task, answer, kickoff_id) or as_it_can_be(task, answer)
    if getattr(task, "multiple_outputs", False) and not _is_in_parts(returned):
        task.log.warning("The crew's answer does not fit multiple_outputs, so it is returned whole.")
        task.multiple_outputs = False
    return returned


def save(task: Any, answer: JSON, kickoff_id: str) -> JSON:
    """Return the XCom that saves the answer of a task that fails: the answer itself, where it cannot go to a file."""
    try:
        return _in_a_file(task, answer, kickoff_id) or as_it_can_be(task, answer)
    except CrewAnswerNotStored:
        return as_it_can_be(task, answer)


def as_it_can_be(task: Any, answer: JSON) -> JSON:
    """Return the answer, or its text if Airflow cannot keep the answer as JSON."""
    if why := _why_text(answer):
        task.log.warning("The crew's answer is returned as a text, because it %s. Read it with json.loads().", why)
        return json_text(answer)
    return answer


def _in_a_file(task: Any, answer: JSON, kickoff_id: str) -> JSON:
    limit = task.max_xcom_bytes
    if limit is None or (size := size_of(answer)) <= limit:
        return None
    if is_nothing(task.result_path):
        task.log.warning(
            "The answer takes %s bytes, which is much for XCom: Airflow's database keeps it. Set result_path to keep "
            "large answers in object storage, or raise max_xcom_bytes (%s).",
            f"{size:,}",
            f"{limit:,}",
        )
        return None
    manifest = keep(str(task.result_path).strip(), answer, kickoff_id)
    task.log.info("The answer, %s bytes, is in %s. read_answer() reads it.", f"{size:,}", manifest["path"])
    return manifest


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
    if isinstance(value, dict) and MARK in value:
        return f"has the key {MARK}, which is for the manifests of large answers"
    if isinstance(value, int | float) and not (LOWEST <= value <= HIGHEST):
        return "holds a number beyond 64 bits"  # PostgreSQL hands 1e20 back as a whole number
    return None


def _is_in_parts(answer: JSON) -> bool:
    return isinstance(answer, dict) and MARK not in answer and all(map(_is_a_name, answer))


def _is_a_name(key: str) -> bool:
    # It becomes a part of a path.
    return key.replace("-", "_").isidentifier() and len(key) <= KEY_LENGTH and key not in RESERVED_KEYS
