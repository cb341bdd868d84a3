"""Can these webhooks be called, and with which credentials? Checked before money is spent.

The parts of a webhook follow the AOP API's reference and its live bodies, see `wire.codec`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from airflow_provider_crewai.client.inputs import near_misses
from airflow_provider_crewai.client.rendered import as_object, as_text, as_url, is_nothing
from airflow_provider_crewai.wire.errors import CrewConfigError
from airflow_provider_crewai.wire.model import JSON, JSONObject, Kickoff

_BY_CONNECTION = "conn://"
_CREDENTIALS = {"bearer": ("token",), "basic": ("username", "password")}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a webhook goes, read from a connection: a URL, and a token, or a login with its password, or neither."""

    url: str
    login: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def has_credentials(self) -> bool:
        """Return whether the connection holds a token, or a login."""
        return bool(self.login or self.password)


def as_human_input_webhook(value: object, name: str = "human_input_webhook") -> str | JSONObject | None:
    """Return who is told when the crew waits for a human: a URL, an object with `url` and `authentication`, or None.

    :raises CrewConfigError: it cannot be called.
    """
    if isinstance(value, str) and not value.lstrip().startswith("{"):
        return as_url(value, name)
    return _hook(as_object(value, name), name, ("url", "authentication"))


def as_webhooks(value: object, name: str = "webhooks") -> JSONObject | None:
    """Return who is told of which events: an object with `events`, `url`, `realtime` and `authentication`, or None.

    :raises CrewConfigError: it cannot be called.
    """
    hook = _hook(as_object(value, name), name, ("url", "authentication", "events", "realtime"))
    if hook is not None and not _is_list_of_texts(hook.get("events", [])):
        raise _refused(f"{name}['events']", "is not a list of texts")
    if hook is not None and not isinstance(hook.get("realtime", False), bool):
        raise _refused(f"{name}['realtime']", "is neither True nor False")
    return hook


def _hook(hook: JSONObject, name: str, keys: tuple[str, ...]) -> JSONObject | None:
    if not hook:
        return None
    _check_names(hook, name, keys)
    url = as_url(hook.get("url"), f"{name}['url']")
    if url is None:
        raise _refused(name, "has no 'url'")
    authentication = None if is_nothing(hook.get("authentication")) else hook["authentication"]
    rest = {key: value for key, value in hook.items() if key not in ("url", "authentication")}
    return {"url": url, **rest} | (_authentication(authentication, name) if authentication else {})


def _authentication(value: JSON, name: str) -> JSONObject:
    where = f"{name}['authentication']"
    authentication = as_object(value, where)
    strategy = authentication.get("strategy")
    wanted = _CREDENTIALS.get(strategy) if isinstance(strategy, str) else None
    if wanted is None:
        raise _refused(where, "needs a 'strategy', 'bearer' or 'basic'")
    _check_names(authentication, where, ("strategy", *wanted))
    for key in wanted:
        if as_text(authentication.get(key), f"{where}[{key!r}]") is None:
            raise _refused(where, f"has no {key!r}, which the strategy {strategy!r} needs")
    return {"authentication": authentication}


def _check_names(given: JSONObject, where: str, keys: tuple[str, ...]) -> None:
    # Any other key may pass: the API ignores keys that it does not know, and may know more keys than we do.
    if misses := near_misses(given, keys):
        meant = ", ".join(f"{right!r} instead of {wrong!r}" for wrong, right in misses.items())
        raise _refused(where, f"is misspelt: did you mean {meant}?")


def _is_list_of_texts(value: JSON) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def with_connections(kickoff: Kickoff, read: Callable[[str], Endpoint]) -> Kickoff:
    """Replace each `conn://ID` with the URL and the credentials of that connection.

    :param read: reads a connection by its id.
    :raises CrewConfigError: it cannot be read, or holds credentials for a webhook that can carry none.
    """

    def plain(url: str | None, name: str) -> str | None:
        if (conn_id := _conn_id(url)) is None:
            return url
        endpoint = read(conn_id)
        if endpoint.has_credentials:
            raise _refused(
                name, f"cannot carry credentials, but connection {conn_id!r} has some: use `webhooks` instead"
            )
        return endpoint.url

    def full(hook: JSONObject | None) -> JSONObject | None:
        if hook is None or (conn_id := _conn_id(hook.get("url"))) is None:
            return hook
        endpoint = read(conn_id)
        return {**_credentials(endpoint), **hook, "url": endpoint.url}

    def human(hook: str | JSONObject | None) -> str | JSONObject | None:
        if isinstance(hook, dict):
            return full(hook)
        if (conn_id := _conn_id(hook)) is None:
            return hook
        endpoint = read(conn_id)
        return {"url": endpoint.url, **_credentials(endpoint)} if endpoint.has_credentials else endpoint.url

    return replace(
        kickoff,
        task_webhook_url=plain(kickoff.task_webhook_url, "task_webhook_url"),
        step_webhook_url=plain(kickoff.step_webhook_url, "step_webhook_url"),
        crew_webhook_url=plain(kickoff.crew_webhook_url, "crew_webhook_url"),
        human_input_webhook=human(kickoff.human_input_webhook),
        webhooks=full(kickoff.webhooks),
    )


def _credentials(endpoint: Endpoint) -> JSONObject:
    if endpoint.login:
        basic: JSONObject = {"strategy": "basic", "username": endpoint.login, "password": endpoint.password or ""}
        return {"authentication": basic}
    return {"authentication": {"strategy": "bearer", "token": endpoint.password}} if endpoint.password else {}


def _conn_id(url: JSON) -> str | None:
    if not isinstance(url, str) or not url.lower().startswith(_BY_CONNECTION):
        return None
    return url[len(_BY_CONNECTION) :].strip("/")


def _refused(where: str, why: str) -> CrewConfigError:
    return CrewConfigError(f"{where} {why}. Nothing was sent.")
