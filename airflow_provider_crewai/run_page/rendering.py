"""Makes the page of a run, and holds the headers that it must be sent with and its static files.

Everything that a crew writes counts as hostile. The templates escape every value, the Content-Security-Policy runs
no script but ours, and our script never makes HTML from a string.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from airflow_provider_crewai.run_page import filters
from airflow_provider_crewai.run_page.outputs import SHOWN, Outputs
from airflow_provider_crewai.run_page.view import BatchView, RunView
from airflow_provider_crewai.wire import times
from airflow_provider_crewai.wire.beginnings import beginning, whole
from airflow_provider_crewai.wire.model import JSON

_HERE = Path(__file__).parent
_MOST_CREW_TASKS = 300
"""A flow may call a method again and again. The last ones are shown."""

ASSETS = _HERE / "static"
"""The folder of `page.css`, `page.js` and `icon.svg`."""


def headers(*, framed_by: str = "'none'") -> dict[str, str]:
    """Return the headers that every answer to a browser carries.

    :param framed_by: who may show the page in a frame, as `frame-ancestors` of a Content-Security-Policy says it.
    """
    return {
        "Content-Security-Policy": (
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
            f"form-action 'self'; frame-ancestors {framed_by}; base-uri 'none'; "
            "require-trusted-types-for 'script'; trusted-types 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }


HEADERS = headers()


def run_html(
    view: RunView, *, assets: str, now: float, refresh: str | None = None, every: int = 2, texts: str | None = None
) -> str:
    """Return the page of a run or a batch. Encode it with `errors="replace"`: a crew's text may hold a lone surrogate.

    :param assets: the URL of the folder `ASSETS`, without a slash at its end.
    :param now: epoch seconds.
    :param refresh: the URL of this page, which its script asks again while the run is live.
    :param every: seconds between two such requests.
    :param texts: the URL below which `whole_text` answers, without a slash at its end.
    """
    template = "batch" if isinstance(view, BatchView) else "run"
    return (
        environment()
        .get_template(f"run_page/{template}.html")
        .render(run_variables(view, assets=assets, now=now, refresh=refresh, every=every, texts=texts))
    )


def run_variables(view: RunView, **rest: Any) -> dict[str, Any]:
    """Return the variables of `run_page/run.html`, for a template that extends it.

    :param rest: the parameters of `run_html`; all of them, since a template has no defaults.
    """
    return {"view": view, "first": max(0, len(view.crew_tasks) - _MOST_CREW_TASKS), "outputs": Outputs(), **rest}


def whole_text(view: RunView, name: str) -> str:
    """Return a text in full, to be sent as plain text with `HEADERS`.

    :param name: `result`, `json`, `failure`, `inputs`, `question`, or `step-` and the number of a crew task from 0.
    :raises LookupError: the view holds no such text.
    """
    text = whole(_value(view, name))
    if not text:
        raise LookupError(name)
    return text


def _value(view: RunView, name: str) -> JSON:
    kind, _, number = name.partition("-")
    if kind == "step" and number.isdecimal() and number.isascii():
        return view.crew_tasks[int(number[:9])].output
    question = view.question.output if view.question else None
    values = {"result": view.answer, "json": view.answer_json, "failure": view.error, "inputs": view.inputs}
    return (values | {"question": question})[name]


@cache
def environment(own: Path | None = None) -> jinja2.Environment:
    """Return the templates of this package, below `run_page/`.

    :param own: a folder with more templates.
    """
    loaders: list[jinja2.BaseLoader] = [jinja2.PrefixLoader({"run_page": jinja2.FileSystemLoader(_HERE / "templates")})]
    if own:
        loaders.append(jinja2.FileSystemLoader(own))
    made = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=filters.visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    of_times = {"ago": times.ago, "duration": times.duration, "moment": times.moment, "until": filters.until}
    made.filters |= of_times | {"line": filters.line, "size": filters.size, "beginning": beginning}
    made.tests["safe_url"] = filters.is_safe_url
    made.globals |= {"STATES": filters.STATES, "SHOWN": SHOWN}
    return made
