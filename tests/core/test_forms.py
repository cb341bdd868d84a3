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


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (
            '{"title": "Tides", "of": [1.5]}',
            '> ```json\n> {\n>   "title": "Tides",\n>   "of": [\n>     1.5\n>   ]\n> }\n> ```',
        ),
        (f'{{"text": "{"long " * 20}"}}', f'> {{"text": "{"long " * 20}"}}'),
        ('{"price": 1.50}', '> {"price": 1.50}'),
        ('{"a": 1, "a": 2}', '> {"a": 1, "a": 2}'),
        ('{"a": "```\\n```"}', '> ```json\n> {\n>   "a": "```\\n```"\n> }\n> ```'),
        ("[" * 9000, "> " + "[" * 9000),
        ('"*Tides*"', '> "*Tides*"'),
        ("# Tides\n\n*come*", "> # Tides\n>\n> *come*"),
    ],
    ids=lambda text: text[:30],
)
def test_json_to_be_judged_is_laid_out_and_nothing_in_it_is_altered(output: str, shown: str) -> None:
    assert f"**To be judged:**\n\n{shown}\n\n" in form_of(Question("q", "Good?", output), ASKER, 0.0).body
