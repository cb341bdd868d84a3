"""A flow that a human sends on or back."""

from typing import Any

from crewai import BaseLLM
from crewai.flow import Flow, human_feedback, listen, or_, start
from pydantic import BaseModel


class Words(BaseLLM):
    """Maps a human's words to an outcome: the one that they name."""

    llm_type: str = "words"

    def call(self, messages: Any, *_: object, **__: object) -> str:
        said = str(messages if isinstance(messages, str) else messages[-1]["content"]).lower()
        return "rejected" if "no, " in said else "approved"


class Article(BaseModel):
    """What the flow is about."""

    title: str = "Untitled"
    drafts: int = 0


class ArticleFlow(Flow[Article]):
    """Draft until approved."""

    @start()
    def begin(self) -> str:
        return self.state.title

    @listen(or_(begin, "rejected"))
    @human_feedback(message="Is it good?", emit=["approved", "rejected"], llm=Words(model="words"))
    def draft(self) -> str:
        self.state.drafts += 1
        return f"{self.state.title}, draft {self.state.drafts}"

    @listen("approved")
    def publish(self) -> dict[str, Any]:
        return {"title": self.state.title, "drafts": self.state.drafts}
