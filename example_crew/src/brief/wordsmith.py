"""The crew's model. It is deterministic, works offline, and uses nothing but its prompt, and a human's feedback."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from typing import Any

from crewai import BaseLLM

SECONDS_PER_TASK = "BRIEF_SECONDS_PER_TASK"


class Wordsmith(BaseLLM):
    """Answers from the prompt alone: the task, a topic, an audience and the output of earlier tasks.

    Usage is counted in words. Every answer takes `BRIEF_SECONDS_PER_TASK` seconds, none by default.
    """

    llm_type: str = "wordsmith"

    def call(self, messages: str | list[Any], *_: object, **__: object) -> str:
        """Answer a task's prompt.

        :param messages: the conversation: the task, and after a refusal what should be better.
        :raises ValueError: the task asks for something other than to survey, outline or write.
        """
        time.sleep(float(os.environ.get(SECONDS_PER_TASK, "0")))
        said = [messages] if isinstance(messages, str) else [str(each["content"]) for each in messages]
        prompt = "\n".join(said)
        answer = _answer(prompt)
        self._track_token_usage_internal(
            {"prompt_tokens": len(prompt.split()), "completion_tokens": len(answer.split())}
        )
        return answer

    def get_input_tokens_count(self, messages: str | list[Any], *_: object, **__: object) -> int:
        """Count the words of a prompt."""
        return len(str(messages).split())

    def get_context_window_size(self) -> int:
        """Return the largest number: no prompt is too long."""
        return sys.maxsize


def _answer(prompt: str) -> str:
    task = re.search(r"Current Task: (\w+)", prompt)
    crafts = {"Survey": _survey, "Outline": _outline, "Write": _write}
    if task is None or task[1] not in crafts:
        raise ValueError("Wordsmith can only survey, outline and write")
    return crafts[task[1]](prompt)


def _survey(prompt: str) -> str:
    words = dict.fromkeys(re.findall(r"\w+", _field(prompt, "Topic").lower()))
    return "\n".join(
        f"{word}: {len(word)} letters, {_vowels(word)} vowels, {_syllables(word)} syllables" for word in words
    )


def _outline(prompt: str) -> str:
    counted = re.findall(r"^(\w+): (\d+) letters, \d+ vowels, (\d+) syllables", prompt, re.MULTILINE)
    # A word's weight is its number of letters. The sort is stable, so equal words keep their order in the topic.
    ranked = sorted(counted, key=lambda found: -int(found[1]))
    audience = _field(prompt, "Audience")
    return "\n".join(
        f"{number}. {word.capitalize()} ({letters} letters, {syllables} syllables) for {audience}"
        for number, (word, letters, syllables) in enumerate(ranked, 1)
    )


def _write(prompt: str) -> str:
    topic, audience = _field(prompt, "Topic"), _field(prompt, "Audience")
    headings = re.findall(r"^\d+\. (\w+) \(", prompt, re.MULTILINE)
    lead = headings[0] if headings else "nothing"
    text = (
        f"{topic} comes down to {len(headings)} word(s), and {lead} weighs most. "
        f"Addressed to {audience}, it spells {sum(map(_vowels, headings))} vowels in "
        f"{sum(map(_syllables, headings))} syllables."
    )
    text += "".join(f" Reworked as you asked: {said}" for said in _feedback(prompt))
    brief = {"title": f"{topic} for {audience}", "audience": audience, "headings": headings, "text": text}
    return json.dumps(brief | {"words": len(text.split())}, ensure_ascii=False)


def _field(prompt: str, name: str) -> str:
    found = re.search(rf"^{name}: (.*)$", prompt, re.MULTILINE)
    return found[1].strip() if found else ""


def _feedback(prompt: str) -> list[str]:
    """Return what a human wanted to be better, each time on one line. crewai writes it between these words."""
    said = re.findall(r"^User feedback: (.*?)\nInstructions: ", prompt, re.MULTILINE | re.DOTALL)
    return [" ".join(each.split()) for each in said]


def _vowels(word: str) -> int:
    return len(re.findall(r"[aeiouy]", word.lower()))


def _syllables(word: str) -> int:
    return max(1, len(re.findall(r"[aeiouy]+", word.lower())))
