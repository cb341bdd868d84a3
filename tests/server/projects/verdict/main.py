"""A flow whose draft a human publishes, sends back or drops."""

from typing import Any

from crewai import BaseLLM
from crewai.flow import Flow, human_feedback, listen, or_, start
from pydantic import BaseModel

OUTCOMES = ["publish", "revise", "drop"]


class Reader(BaseLLM):
    """Maps a human's words to an outcome: the first that they name, else `revise`."""

    llm_type: str = "reader"

    def call(self, messages: Any, *_: object, **__: object) -> str:
        asked = messages if isinstance(messages, str) else str(messages[-1]["content"])
        said = asked.partition("Feedback: ")[2].partition("\n\nPossible outcomes")[0].lower()
        return next((outcome for outcome in OUTCOMES if outcome in said), "revise")


class Article(BaseModel):
    """What the flow is about."""

    title: str = "Untitled"
    drafts: int = 0


class VerdictFlow(Flow[Article]):
    """Draft until a human decides."""

    @start()
    def begin(self) -> str:
        return self.state.title

    @listen(or_(begin, "revise"))
    @human_feedback(message="What shall become of this draft?", emit=OUTCOMES, llm=Reader(model="reader"))
    def draft(self) -> str:
        self.state.drafts += 1
        wanted = self.last_human_feedback.feedback if self.last_human_feedback else "a first draft"
        return f"# {self.state.title}\n\nDraft **{self.state.drafts}**: {wanted}"

    @listen("publish")
    def to_press(self) -> dict[str, Any]:
        return {"title": self.state.title, "drafts": self.state.drafts, "published": True}

    @listen("drop")
    def to_bin(self) -> dict[str, Any]:
        return {"title": self.state.title, "drafts": self.state.drafts, "published": False}
