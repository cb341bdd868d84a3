"""The connection form: one table. Airflow 3 reads it through the provider info, Airflow 2 through the hook."""

from __future__ import annotations

from typing import Any

from airflow_provider_crewai.client.fields import LABELS as ALL_LABELS

FIELDS: dict[str, dict[str, Any]] = {
    "timeout": {
        "label": ALL_LABELS["extra.timeout"],
        "description": "Seconds for one request, at most 3600. Default 30.",
        "schema": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 3600},
    },
    "verify": {
        "label": ALL_LABELS["extra.verify"],
        "description": "Turn it off only for a test: without it, the token goes to any server that answers.",
        "schema": {"type": ["boolean", "null"], "default": True},
    },
    "ca_bundle": {
        "label": ALL_LABELS["extra.ca_bundle"],
        "description": "If the crew's certificate is your own: the path of a PEM file, or of a directory of hashed "
        "certificates, on all workers and triggerers.",
        "schema": {"type": ["string", "null"]},
    },
    "proxy": {
        "label": ALL_LABELS["extra.proxy"],
        "description": "http://host:port or http://user:password@host:port. If empty, the environment decides.",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "headers": {
        "label": ALL_LABELS["extra.headers"],
        "description": 'JSON object of headers for a gateway before the crew, sent each time: {"X-Team": "data"}.',
        "schema": {"type": ["object", "null"]},
    },
    "secret_headers": {
        "label": ALL_LABELS["extra.secret_headers"],
        "description": 'The same for headers whose values are secrets, such as {"X-Api-Key": "..."}.',
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "allow_http": {
        "label": ALL_LABELS["extra.allow_http"],
        "description": "Allow sending the token unencrypted to a host other than this machine.",
        "schema": {"type": ["boolean", "null"], "default": False},
    },
    "run_url": {
        "label": ALL_LABELS["extra.run_url"],
        "description": "The URL of a run's page, with {kickoff_id} in it, for the link 'Crew run' of its task.",
        "schema": {"type": ["string", "null"]},
    },
}
# The port stays visible: Airflow 3.3.2 cannot test a stored connection whose form hides it.
HIDDEN = ["schema", "login", "extra"]
LABELS = {name: ALL_LABELS[name] for name in ("host", "password")}
PLACEHOLDERS = {
    "host": "https://my-crew-1a2b3c.crewai.com",
    "port": "only if it is not in the URL",
    "password": "Bearer token. Test: [core] test_connection = Enabled",
}


def conn_fields() -> dict[str, Any]:
    """Return the form's own fields as JSON schema, for `connection-types` in the provider info."""
    return FIELDS


def ui_field_behaviour() -> dict[str, Any]:
    """Return labels and placeholders, for `connection-types` in the provider info."""
    return {"hidden-fields": HIDDEN, "relabeling": LABELS, "placeholders": PLACEHOLDERS}


def behaviour() -> dict[str, Any]:
    """Return labels and placeholders in the spelling of Airflow 2."""
    return {"hidden_fields": HIDDEN, "relabeling": LABELS, "placeholders": PLACEHOLDERS}


def widgets() -> dict[str, Any]:
    """Return the form's own fields as WTForms widgets, for Airflow 2."""
    # These come with Airflow 2 only, and this form is for Airflow 2.
    from flask_appbuilder.fieldwidgets import (  # type: ignore[import-not-found]
        BS3PasswordFieldWidget,
        BS3TextFieldWidget,
    )
    from wtforms import BooleanField, PasswordField, StringField  # type: ignore[import-untyped]

    def widget(field: dict[str, Any]) -> Any:
        if "boolean" in field["schema"]["type"]:
            return BooleanField(field["label"], default=field["schema"]["default"], description=field["description"])
        if field["schema"].get("format") == "password":
            # Shown as dots, and sent back as it is: Airflow 2 erases a provider's field that comes back empty.
            masked = BS3PasswordFieldWidget(hide_value=False)
            return PasswordField(field["label"], widget=masked, description=field["description"])
        return StringField(field["label"], widget=BS3TextFieldWidget(), description=field["description"])

    return {name: widget(field) for name, field in FIELDS.items()}
