"""The names of a connection's fields: the form, Airflow and every error about a field use the same words."""

from __future__ import annotations

from airflow_provider_crewai.wire.errors import CrewConfigError

LABELS = {
    "host": "Crew URL",
    "port": "Port",
    "schema": "Schema",
    "login": "Login",
    "password": "Bearer token",
    "extra": "Extra",
    "extra.timeout": "Request timeout",
    "extra.verify": "Verify TLS",
    "extra.ca_bundle": "CA bundle",
    "extra.proxy": "Proxy",
    "extra.headers": "Extra headers",
    "extra.secret_headers": "Secret headers",
    "extra.allow_http": "Allow http://",
    "extra.run_url": "Run page",
}
"""Airflow's name for each field, and the form's label."""

OPTIONS = tuple(name.removeprefix("extra.") for name in LABELS if name.startswith("extra."))
"""The keys that a connection's extra may hold."""


class Complaint(ValueError):
    """Says why a field cannot be used. Its text follows the field's name in the message, and holds no secret."""


def called(where: str) -> str:
    """Return a field's name: the form's label, and Airflow's name in brackets."""
    return f"{LABELS[where]} ({where})"


def wrong(conn_id: str, where: str, why: str) -> CrewConfigError:
    """Return the error that names a connection, one of its fields, and what to do.

    :param where: Airflow's name for the field, or the name of an environment variable.
    """
    field = f"its {called(where)}" if where in LABELS else f"the environment variable {where}"
    return CrewConfigError(f"Connection {conn_id!r}: {field} {why}. Nothing was sent.")
