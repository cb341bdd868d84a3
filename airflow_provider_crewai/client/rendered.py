"""Turns what Airflow rendered for an argument into what is sent.

An empty template and a missing XCom both give "nothing": None, "" or the text "None". Native rendering turns an id of
digits into a number; plain rendering writes a list as Python does, not as JSON. Here each argument becomes a value that
the wire knows, or is refused before money is spent, and the error says how to fix it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from airflow_provider_crewai.wire.errors import CrewConfigError
from airflow_provider_crewai.wire.model import JSON, JSONObject
from airflow_provider_crewai.wire.values import as_json

ID_LENGTH = 256
"""The most characters that a kickoff_id may have."""

_CURE = (
    "pass the value itself (`task.output`), write `{{ … | tojson }}`, or set render_template_as_native_obj=True on the "
    "Dag"
)
_THE_ID = "if it comes from a task that waits for its crew, pass `task.output['kickoff_id']`"
_PYTHON = re.compile(
    r"""[\[{(](?:'(?:[^'\\\n]|\\.){0,200}'|None|True|False)(?:,\ |:\ |,?[\])}])"""  # ['a', …   {'a': …   [None]
    r"""|[,:]\ (?:None|True|False)[\])},]"""  # …: None}
    r"""|<[\w.]+\ object\ at\ 0x[0-9a-f]+>|\bdatetime\.datetime\(""",
    re.VERBOSE,
)
_LAZY = re.compile(r"\bLazy\w*Sequence\((?:\[\d+ items?\]|<unevaluated length>)\)")
"""How the outputs of a mapped task look when they are printed."""


def is_nothing(value: object) -> bool:
    """Return whether a template rendered to nothing, or an XCom was missing."""
    return value is None or (isinstance(value, str) and value.strip() in ("", "None"))


def as_text(value: object, name: str) -> str | None:
    """Return a text without the space around it, or None for nothing. A whole number becomes its digits.

    :raises CrewConfigError: it is not a text.
    """
    read = None if is_nothing(value) else as_json(value, name)
    if isinstance(read, int) and not isinstance(read, bool):
        return str(read)
    if read is not None and not isinstance(read, str):
        raise _refused(name, f"is {_kind(read)}, not a text")
    return read.strip() if read else None


def as_id(value: object, name: str) -> str | None:
    """Return the kickoff_id of an earlier run, or None for nothing.

    :raises CrewConfigError: it cannot be a kickoff_id; the message says what it is.
    """
    read = None if is_nothing(value) else as_json(value, name)
    match read:
        case bool() | float():
            why = f"native rendering read it as {read}; pass `task.output`, which rendering does not change"
        case list():
            why = f"it is {_kind(read)}; `.partial(…).expand({name}=…)` makes a task for each item"
        case dict():
            why = f"it is an object; {_THE_ID}"
        case _:
            text = as_text(read, name)
            return None if text is None else _as_id(text, name)
    raise _refused(name, f"is not a kickoff_id: {why}")


def _as_id(text: str, name: str) -> str:
    if text.startswith(("{", "[")):
        raise _refused(name, f"is not a kickoff_id: it is an object or a list, written as a text; {_THE_ID}")
    if text[0] == text[-1] == '"':
        raise _refused(name, "is not a kickoff_id: it is a text that was written as JSON; leave `| tojson` out")
    if len(text) > ID_LENGTH:
        raise _refused(name, f"is not a kickoff_id: it is a text of {len(text):,} characters; {_THE_ID}")
    if not text.isprintable():
        raise _refused(name, f"is not a kickoff_id: {text!r} holds a control character; push only the id")
    return text


def as_url(value: object, name: str) -> str | None:
    """Return a webhook's URL, or None for nothing.

    :raises CrewConfigError: it is not a URL that can be called.
    """
    url = as_text(value, name)
    if url is not None and not re.match(r"(https?|conn)://\S+$", url, re.IGNORECASE):
        # Not shown: a webhook's URL may be a secret.
        raise _refused(name, "is not a URL: set it to https://…, or to conn://ID, with the ID of an Airflow connection")
    return url


def as_object(value: object, name: str) -> JSONObject:
    """Return a JSON object. A text is read as JSON; nothing gives an empty object.

    :raises CrewConfigError: it is not a JSON object; the message names the part that is wrong.
    """
    if is_nothing(value):
        return {}
    read = _parsed(value, name) if isinstance(value, str) else as_json(value, name)
    if read is not None and not isinstance(read, dict):
        raise _refused(name, f"is {_kind(read)}, not a JSON object{_why_no_object(read, name)}")
    return read or {}


def _why_no_object(read: JSON, name: str) -> str:
    if isinstance(read, list) and read and all(isinstance(item, dict) for item in read):
        return f"; `.partial(…).expand({name}=…)` makes a task for each item"
    if isinstance(read, str) and _is_json(read):
        return ": it was turned into JSON twice; leave `| tojson` out"
    return ""


def as_inputs(value: object, name: str = "inputs") -> JSONObject:
    """Return the inputs as a JSON object. Refuses "nothing": a run without its inputs costs as much as any other.

    :raises CrewConfigError: they are nothing, or not a JSON object.
    """
    if is_nothing(value) or (isinstance(value, str) and value.strip() == "null"):
        raise _refused(
            name,
            f"rendered to {value!r}: the task, variable or parameter that should give them gave nothing. Fix that, "
            f"or leave {name} out if the crew takes none",
        )
    read = as_object(value, name)
    for path, text in _texts(read, name):
        if found := _LAZY.search(text):
            raise _refused(
                path, f"holds {found[0]!r} instead of the values: {_CURE.replace('| tojson', '| list | tojson')}"
            )
    return read


def as_items(value: object, name: str = "inputs") -> list[JSONObject]:
    """Return the inputs of a batch: a list of JSON objects. A text is read as JSON; nothing is refused.

    :raises CrewConfigError: they are nothing, not a list, or one of them is not an object; names which.
    """
    if is_nothing(value):
        raise _refused(name, f"rendered to {value!r}: the task or template that should give the list gave nothing")
    read = _parsed(value, name) if isinstance(value, str) else as_json(value, name)
    if not isinstance(read, list):
        raise _refused(name, f"is {_kind(read)}, not a list of objects: give one object for each run")
    return [as_inputs(item, f"{name}[{index}]") for index, item in enumerate(read)]


def written_texts(value: object) -> frozenset[str]:
    """Return the texts that the Dag's author wrote, before rendering."""
    if isinstance(value, str):
        return frozenset([value])
    if not isinstance(value, dict | list | tuple | set):
        return frozenset()
    items = value.values() if isinstance(value, dict) else value
    return frozenset().union(*map(written_texts, items))


def doubts(inputs: JSONObject, written: frozenset[str], name: str = "inputs") -> Iterator[str]:
    """Yield a warning for each text that a template probably did not mean to give. It is sent anyway.

    A prompt may hold anything, so none of these is an error.

    :param written: the texts as the author wrote them; these are never doubted.
    """
    for key in _keys(inputs):
        if "{{" in key:
            yield f"{name} has the key {key[:60]!r}, which is sent unchanged: Airflow renders values, not keys."
    for path, text in _texts(inputs, name):
        if text not in written and (doubt := _doubt(text)):
            yield f"{path} {doubt}"


def _doubt(text: str) -> str | None:
    if text.strip() == "None":
        return "rendered to the text 'None', which is sent to the crew: an XCom, variable or parameter is missing."
    if _PYTHON.search(text) and not _is_json(text):
        return f"holds a list or object as Python writes it, not as JSON ({text[:60]!r}). To send JSON, {_CURE}."
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
    cure = "Pass an object (its texts may be templates), or write `{{ … | tojson }}`"
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
