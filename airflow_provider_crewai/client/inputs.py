"""Are these inputs what the crew wants? Checked before money is spent."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from typing import Any

from airflow_provider_crewai.wire.errors import CrewConfigError
from airflow_provider_crewai.wire.model import JSONObject


def as_object(inputs: Any, name: str = "inputs") -> JSONObject:
    """Return the inputs as a JSON object; text is read as JSON, None is an empty object.

    :param name: what they are called in the complaint.
    :raises CrewConfigError: they are not a JSON object; names the value that is not JSON.
    """
    if isinstance(inputs, str):
        try:
            inputs = json.loads(inputs)
        except ValueError as error:
            raise CrewConfigError(
                f"{name} is a text that is not JSON ({error}). Pass an object, or a template that renders to one. "
                "Nothing was sent."
            ) from None
    if inputs is None:
        return {}
    if not isinstance(inputs, dict):
        raise CrewConfigError(f"{name} is a {type(inputs).__name__}, not a JSON object. Nothing was sent.")
    for key, value in inputs.items():
        _check(key, value, name)
    return inputs


def _check(key: Any, value: Any, name: str) -> None:
    if not isinstance(key, str):
        raise CrewConfigError(f"{name} has the key {key!r}; JSON wants texts as keys. Nothing was sent.")
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise CrewConfigError(
            f"{name}[{key!r}] is a {type(value).__name__} that JSON cannot hold ({error}). Pass a text, a number, a "
            "list or an object, such as value.isoformat() for a date. Nothing was sent."
        ) from None


def near_misses(given: Iterable[str], wanted: Iterable[str]) -> dict[str, str]:
    """Return the given names that look like a wanted one that was not given: misspelt name to right name.

    Names that look like none are not listed: a crew may use inputs that stand in no prompt.
    """
    missing = [name for name in wanted if name not in set(given)]
    strangers = [name for name in given if name not in set(wanted)]
    close = {name: difflib.get_close_matches(name.lower(), map(str.lower, missing), n=1) for name in strangers}
    spelt = {name.lower(): name for name in missing}
    return {name: spelt[match[0]] for name, match in close.items() if match}


def check_names(
    given: Iterable[str], wanted: Iterable[str], *, unchecked: str = "set validate_inputs=False"
) -> list[str]:
    """Refuse a misspelt name, and return the names that are missing (which a flow may do without).

    :param unchecked: how to go without this check, for the complaint.
    :raises CrewConfigError: a name is misspelt; says which one was probably meant.
    """
    given, wanted = list(given), list(wanted)
    misses = near_misses(given, wanted)
    if misses:
        meant = ", ".join(f"{right!r} instead of {wrong!r}" for wrong, right in misses.items())
        raise CrewConfigError(
            f"The crew takes {', '.join(wanted)}. Did you mean {meant}? Nothing was sent; mend the inputs, or "
            f"{unchecked} if the name is right."
        )
    return [name for name in wanted if name not in given]
