"""The bodies of `POST /resume`, in the published spelling or the live one, and of `POST /resume_feedback`, for flows.

An empty feedback approves. So a body without any feedback, sent by mistake, is refused.
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

    :param approved: the verdict, if the body holds one; None leaves it to the text.
    """

    kickoff_id: str
    question_id: str
    feedback: str
    approved: bool | None


def read_answer(body: JSONObject, *, strict: bool) -> Answer:
    """Read the body of a resume.

    :param strict: whether to know only what the live service knows: its own spelling, and no verdict.
    :raises HTTPException: 422 in the shape of FastAPI, with the missing fields.
    """
    values = {live: body.get(live, None if strict else body.get(other)) for live, other in _SPELLINGS.items()}
    verdict = None if strict else _verdict(body.get("isApprove", body.get("is_approve")))
    if verdict is not None:
        values["humanFeedback"] = values["humanFeedback"] or ""
    said = texts(values)
    return Answer(said["executionId"], said["taskId"], said["humanFeedback"], verdict)


def read_feedback(body: JSONObject) -> tuple[str, str]:
    """Read the body of an answer to a flow: the flow's id, and what a human said.

    :raises HTTPException: see `texts`.
    """
    said = texts({name: body.get(name) for name in ("flow_id", "feedback")})
    return said["flow_id"], said["feedback"]


def texts(values: JSONObject) -> dict[str, str]:
    """Return fields of a body, each of which must be a text.

    :raises HTTPException: 422 in the shape of FastAPI, with the fields that are missing or of another type.
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
