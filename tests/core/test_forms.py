"""What a person sees of a crew's question."""

from __future__ import annotations

import pytest

from airflow_provider_crewai.client.questions import Asker, form_of
from airflow_provider_crewai.wire.model import Question

ASKER = Asker("run-1", "https://crew.example")


@pytest.mark.parametrize(
    ("question", "subject"),
    [
        (Question("q", "Is it good?", crew_task="draft"), "draft: Is it good?"),
        (Question("q", "Is it good?"), "The crew at crew.example: Is it good?"),
        (Question("q", crew_task="draft"), "draft asks a person"),
        (Question("q"), "The crew at crew.example asks a person"),
    ],
)
def test_the_subject_says_who_asks_and_what_as_far_as_that_is_known(question: Question, subject: str) -> None:
    assert form_of(question, ASKER, 0.0).subject == subject
