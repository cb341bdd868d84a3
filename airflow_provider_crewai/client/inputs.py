"""Are these the inputs that the crew lists? Checked before money is spent."""

from __future__ import annotations

from collections.abc import Iterable

from airflow_provider_crewai.wire.errors import CrewConfigError
from airflow_provider_crewai.wire.words import listing


def near_misses(given: Iterable[str], wanted: Iterable[str]) -> dict[str, str]:
    """Return the names that are probably misspelt, each with the right name: one that is wanted and was not given.

    Other unknown names are not returned: a crew may use inputs that appear in no prompt.
    """
    import difflib  # late: a Dag file imports this module, and rarely needs that one

    missing = [name for name in wanted if name not in set(given)]
    strangers = [name for name in given if name not in set(wanted)]
    close = {name: difflib.get_close_matches(name.lower(), map(str.lower, missing), n=1) for name in strangers}
    spelt = {name.lower(): name for name in missing}
    return {name: spelt[match[0]] for name, match in close.items() if match}


def check_names(
    given: Iterable[str], wanted: Iterable[str], *, unchecked: str = "set validate_inputs=False"
) -> list[str]:
    """Refuse a misspelt name, and return the names that are missing (a flow may not need them).

    :param unchecked: how to turn this check off, for the message.
    :raises CrewConfigError: a name is misspelt; the message says which one was probably meant.
    """
    given, wanted = list(given), list(wanted)
    misses = near_misses(given, wanted)
    if misses:
        meant = listing(f"{right!r} instead of {wrong!r}" for wrong, right in misses.items())
        raise CrewConfigError(
            f"The crew takes {listing(wanted)}. Did you mean {meant}? Nothing was sent; fix the inputs, or "
            f"{unchecked} if the name is right."
        )
    return [name for name in wanted if name not in given]
