"""What Airflow's rendering made of an argument, and what of that is sent.

A template and an XCom that is not there both give "nothing": None, "" or the text "None". Native rendering turns an id
of digits into a number, and plain rendering turns a list into Python's way of writing one. Here each argument becomes
what the wire knows, or is refused before money is spent, with a cure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from airflow_provider_crewai.wire.errors import CrewConfigError
from airflow_provider_crewai.wire.model import JSON, JSONObject
from airflow_provider_crewai.wire.values import as_json

ID_LENGTH = 256
"""Characters of a kickoff_id, at most."""

_CURE = (
    "hand the value itself over (`task.output`), write `{{ … | tojson }}`, or set render_template_as_native_obj=True "
    "on the Dag"
)
_THE_ID = "of a task that waits for its crew, take `task.output['kickoff_id']`"
_PYTHON = re.compile(
    r"""[\[{(](?:'(?:[^'\\\n]|\\.){0,200}'|None|True|False)(?:,\ |:\ |,?[\])}])"""  # ['a', …   {'a': …   [None]
    r"""|[,:]\ (?:None|True|False)[\])},]"""  # …: None}
    r"""|<[\w.]+\ object\ at\ 0x[0-9a-f]+>|\bdatetime\.datetime\(""",
    re.VERBOSE,
)
_LAZY = re.compile(r"\bLazy\w*Sequence\((?:\[\d+ items?\]|<unevaluated length>)\)")
"""What is printed of the outputs of a mapped task."""


def is_nothing(value: object) -> bool:
    """Whether a template, or an XCom that is not there, gave nothing."""
    return value is None or (isinstance(value, str) and value.strip() in ("", "None"))


def as_text(value: object, name: str) -> str | None:
    """Return a text without the space around it, digits as they are spelt, or None for nothing.

    :raises CrewConfigError: it is no text.
    """
    read = None if is_nothing(value) else as_json(value, name)
    if isinstance(read, int) and not isinstance(read, bool):
        return str(read)
    if read is not None and not isinstance(read, str):
        raise _refused(name, f"is {_kind(read)}, not a text")
    return read.strip() if read else None


def as_id(value: object, name: str) -> str | None:
    """Return the kickoff_id of an earlier run, or None for nothing.

    :raises CrewConfigError: it can be no kickoff_id; says what it is.
    """
    read = None if is_nothing(value) else as_json(value, name)
    match read:
        case bool() | float():
            why = f"native rendering read it as {read}; pass `task.output`, which stays as it is"
        case list():
            why = f"it is {_kind(read)}; `.partial(…).expand({name}=…)` makes one task of each"
        case dict():
            why = f"it is an object; {_THE_ID}"
        case _:
            text = as_text(read, name)
            return None if text is None else _as_id(text, name)
    raise _refused(name, f"is not a kickoff_id: {why}")


def _as_id(text: str, name: str) -> str:
    if text.startswith(("{", "[")):
        raise _refused(name, f"is not a kickoff_id: it is an object or a list, written as a text; {_THE_ID}")
    if len(text) > ID_LENGTH:
        raise _refused(name, f"is not a kickoff_id: it is a text of {len(text):,} characters; {_THE_ID}")
    if not text.isprintable():
        raise _refused(name, f"is not a kickoff_id: {text!r} holds a control character; push the bare id")
    return text


def as_url(value: object, name: str) -> str | None:
    """Return a webhook's URL, or None for nothing.

    :raises CrewConfigError: it is no URL that can be called.
    """
    url = as_text(value, name)
    if url is not None and not re.match(r"(https?|conn)://\S+$", url, re.IGNORECASE):
        # Not shown: a webhook's URL may be a secret.
        raise _refused(name, "is no URL: set it to https://…, or to conn://ID for the connection ID of Airflow")
    return url


def as_object(value: object, name: str) -> JSONObject:
    """Return a JSON object; a text is read as JSON, nothing is an empty object.

    :raises CrewConfigError: it is no JSON object; names what in it is not.
    """
    if is_nothing(value):
        return {}
    read = _parsed(value, name) if isinstance(value, str) else as_json(value, name)
    if read is not None and not isinstance(read, dict):
        raise _refused(name, f"is {_kind(read)}, not a JSON object{_why_no_object(read, name)}")
    return read or {}


def _why_no_object(read: JSON, name: str) -> str:
    if isinstance(read, list) and read and all(isinstance(item, dict) for item in read):
        return f"; `.partial(…).expand({name}=…)` makes one task of each"
    if isinstance(read, str) and _is_json(read):
        return ": it is JSON that was written as JSON once more; leave `| tojson` out"
    return ""


def as_inputs(value: object, name: str = "inputs") -> JSONObject:
    """Return the inputs as a JSON object. Nothing is refused: a crew that is told nothing costs as much.

    :raises CrewConfigError: they are nothing, or no JSON object.
    """
    if is_nothing(value) or (isinstance(value, str) and value.strip() == "null"):
        raise _refused(
            name,
            f"rendered to {value!r}: the task, variable or parameter that should give them gave nothing. Mend that, "
            f"or leave {name} out if the crew takes none",
        )
    read = as_object(value, name)
    for path, text in _texts(read, name):
        if found := _LAZY.search(text):
            raise _refused(
                path, f"holds {found[0]!r} instead of the values: {_CURE.replace('| tojson', '| list | tojson')}"
            )
    return read


def written_texts(value: object) -> frozenset[str]:
    """Collect the texts that a Dag's author wrote, before anything is rendered."""
    if isinstance(value, str):
        return frozenset([value])
    if not isinstance(value, dict | list | tuple | set):
        return frozenset()
    items = value.values() if isinstance(value, dict) else value
    return frozenset().union(*map(written_texts, items))


def doubts(inputs: JSONObject, written: frozenset[str], name: str = "inputs") -> Iterator[str]:
    """Say which texts a template was hardly meant to give. They are sent all the same: a prompt may hold anything.

    :param written: the texts as the author wrote them, which are beyond doubt.
    """
    for key in _keys(inputs):
        if "{{" in key:
            yield f"{name} has the key {key[:60]!r}, which is sent so: Airflow renders values and no keys."
    for path, text in _texts(inputs, name):
        if text not in written and (doubt := _doubt(text)):
            yield f"{path} {doubt}"


def _doubt(text: str) -> str | None:
    if text.strip() == "None":
        return "rendered to the text 'None', and so the crew is told: an XCom, variable or parameter is not there."
    if _PYTHON.search(text) and not _is_json(text):
        return f"holds a list or object as Python writes it, not as JSON ({text[:60]!r}). For the values, {_CURE}."
    return None


def _keys(value: JSON) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _keys(item)


def _texts(value: JSON, path: str) -> Iterator[tuple[str, str]]:
    match value:
        case str():
            yield path, value
        case dict():
            for key, item in value.items():
                yield from _texts(item, f"{path}[{key!r}]")
        case list():
            for index, item in enumerate(value):
                yield from _texts(item, f"{path}[{index}]")


def _parsed(text: str, name: str) -> JSON:
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refused(name, _why_no_json(text, error)) from None
    return as_json(read, name)


def _why_no_json(text: str, error: Exception) -> str:
    if _PYTHON.search(text) or _LAZY.search(text):
        return f"is a list or object as Python writes it, not JSON ({text[:60]!r}): {_CURE}"
    cure = "Pass an object, whose texts may be templates, or write `{{ … | tojson }}`"
    return f"is a text that is not JSON ({error}). {cure}"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _kind(value: JSON) -> str:
    match value:
        case list():
            return f"a list of {len(value)}"
        case dict():
            return "an object"
        case str():
            return "a text"
        case bool() | None:
            return f"{value}"
        case _:
            return f"the number {str(value)[:60]}"


def _refused(name: str, why: str) -> CrewConfigError:
    return CrewConfigError(f"{name} {why}. Nothing was sent.")
