"""What `POST /resume` understands and answers: the published reference's dialect and the live service's.

No words at all approve, so a body without any, sent by mistake, must not pass for them.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.exceptions import HTTPException

from airflow_provider_crewai.wire.model import JSON, JSONObject

_SPELLINGS = {
    "executionId": "execution_id",
    "taskId": "task_id",
    "humanFeedback": "human_feedback",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A human's answer as it came in.

    :param approved: what it says by itself; None leaves that to the text.
    """

    kickoff_id: str
    question_id: str
    feedback: str
    approved: bool | None


def read_answer(body: JSONObject, *, strict: bool) -> Answer:
    """Read the body of a resume, in either spelling.

    :param strict: as live: only the live spelling is known, and a verdict is not.
    :raises HTTPException: 422 in the shape of FastAPI, naming the missing fields.
    """
    values = {live: body.get(live, None if strict else body.get(other)) for live, other in _SPELLINGS.items()}
    verdict = None if strict else _verdict(body.get("isApprove", body.get("is_approve")))
    if verdict is not None:
        values["humanFeedback"] = values["humanFeedback"] or ""
    said = texts(values)
    return Answer(said["executionId"], said["taskId"], said["humanFeedback"], verdict)


def texts(values: JSONObject) -> dict[str, str]:
    """Return these fields of a body, which must all be there and be texts.

    :raises HTTPException: 422 in the shape of FastAPI, naming those that are not.
    """
    said = {name: value for name, value in values.items() if isinstance(value, str)}
    if missing := values.keys() - said.keys():
        detail = [_missing(name) for name in values if name in missing]
        raise HTTPException(422, detail=detail)  # type: ignore[arg-type]  # FastAPI's own
    return said


def _verdict(said: JSON) -> bool | None:
    return said if isinstance(said, bool) else None


def _missing(name: str) -> JSONObject:
    return {"type": "missing", "loc": ["body", name], "msg": "Field required"}
