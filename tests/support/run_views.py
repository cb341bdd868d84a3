"""Views of runs for tests of their page, and texts of crews that want to be more than text."""

from __future__ import annotations

from airflow_provider_crewai.run_page.view import CrewTaskView, Fact, Link, Mark, RunView, StoryLine
from airflow_provider_crewai.wire.model import Progress, Question, RunState

NOW = 1_800_000_000.0
HOSTILE = [
    "<script>window.pwned = 1</script>",
    "<img src=x onerror='window.pwned = 1'>",
    '"><svg onload="window.pwned = 1">',
    "' autofocus onfocus='window.pwned = 1",
    "</textarea></pre></title></style><script>window.pwned = 1</script><!--",
    "{{ 7 * 7 }} {% raw %} &lt;b&gt;",
    "- [click](javascript:window.pwned=1) ![x](https://evil.example/x.png) <b>",
    '# <img src=x onerror=window.pwned=1>\n\n```"><script>\nx\n```',
    "| a | b |\n|:-|-:|\n| <script>alert(1)</script> | [x](data:text/html,<script>1</script>) |",
    "[a]: javascript:window.pwned=1\n\n[a] [b](vbscript:x) [c](JaVaScRiPt&colon;alert) <javascript:window.pwned=1>",
    "[a](https://x.example/\"onmouseover=window.pwned=1) **b** <https://x.example/'onclick=1>",
    '{"<script>window.pwned = 1</script>": ["<img src=x onerror=window.pwned=1>", {"</details>": null}]}',
]


def everywhere(text: str, state: RunState = RunState.FAILED) -> RunView:
    """A view in which each text is this one."""
    return RunView(
        text,
        state,
        kickoff_id=text,
        crew=text,
        word=text,
        lines=(text, text),
        progress=Progress(1, 3, text, text),
        kicked_off_at=NOW - 60,
        started_at=NOW - 50,
        deadline=NOW + 60,
        facts=(Fact(text, text),),
        crew_tasks=(
            CrewTaskView(text, "done", text, NOW - 50, 20, 7, text),
            CrewTaskView(text, "broken", text, NOW - 30, 30, None, {text: [text]}),
            CrewTaskView(text, "next"),
        ),
        answer=text,
        answer_json={text: [text, {text: None}]},
        error=text,
        question=Question(text, text, text),
        usage={text: 7},
        inputs={text: text, "list": [text]},
        story=(StoryLine(NOW - 60, text),),
        links=(Link(text, text), Link(text, "javascript:window.pwned=1"), Link("log", "/dags/x?a=b")),
        is_live=True,
    )


MARKDOWN = """# What we found

Agents are **at work** in *three* places, see [the survey](https://example.com/survey):

1. in support,
2. in research, where `crew.kickoff()` is called daily,
3. and elsewhere.

> Nobody asked for this.

| place | runs | cost |
|-------|-----:|-----:|
| support | 1,200 | 12.40 |
| research | 340 | 9.10 |

## How

```python
crew = Crew(agents=[researcher, editor], tasks=[survey, outline])
crew.kickoff(inputs={"topic": "AI agents"})
```

![a chart](https://example.com/chart.png)"""

STRUCTURED = {
    "topic": "AI agents",
    "sources": [{"title": "A survey", "year": 2026, "peer_reviewed": True}],
    "gaps": None,
}


def a_run(state: RunState = RunState.RUNNING) -> RunView:
    """A run as one may well see it, in any state."""
    mark: dict[RunState, Mark] = {RunState.PAUSED: "waiting", RunState.FAILED: "broken", RunState.SUCCEEDED: "done"}
    succeeded = state is RunState.SUCCEEDED
    return RunView(
        "Brief on AI agents",
        state,
        kickoff_id="3f0a6d0e-9a51-4c1e-8a53-0f6f8f1d2b6c",
        crew="https://brief-1a2b.crewai.com",
        lines=(
            "Crew task 3 of 3 (brief, Editor) is at work.",
            "The run is still going, and still costing money: 21,350 tokens so far.",
            "A retry takes this run up again; a clear stops it and starts a new one.",
        ),
        progress=Progress(3 if succeeded else 2, 3, None if succeeded else "brief", None if succeeded else "Editor"),
        kicked_off_at=NOW - 400,
        started_at=NOW - 390,
        ended_at=NOW if state.is_final else None,
        deadline=NOW + 3600,
        facts=(Fact("Try", "2 of 3"), Fact("Last looked at", "3 seconds ago")),
        crew_tasks=(
            CrewTaskView("survey", "done", "Researcher", NOW - 390, 125, 12_500, MARKDOWN),
            CrewTaskView("outline", "done", "Editor", NOW - 265, 100, 8_850, STRUCTURED),
            CrewTaskView("brief", mark.get(state, "now"), "Editor", NOW - 165, 165),
            CrewTaskView("publish", "next"),
        ),
        answer=MARKDOWN if succeeded else None,
        answer_json=STRUCTURED if succeeded else None,
        error="ValueError: the model refused\n  twice" if state is RunState.FAILED else None,
        question=Question("brief", "Is the draft good?", MARKDOWN) if state is RunState.PAUSED else None,
        usage={"total_tokens": 21_350, "prompt_tokens": 19_000, "completion_tokens": 2_350, "successful_requests": 7},
        inputs={"topic": "AI agents", "api_key": "***", "audience": ["engineers", "managers"]},
        story=(
            StoryLine(NOW - 400, "Try 1 kicked the run off."),
            StoryLine(NOW - 200, "Try 2 took it up again, because a worker was lost."),
        ),
        links=(Link("Task in Airflow", "/dags/a/runs/b/tasks/c"), Link("Platform", "https://app.crewai.com/x")),
        is_live=not state.is_final,
    )
