"""Which proxy leads to a crew: the connection's own, or the environment's as `requests` reads it."""

from __future__ import annotations

import os
from urllib.parse import SplitResult, quote, unquote
from urllib.request import getproxies

from airflow_provider_crewai.client.addresses import is_loopback, normal_host, split, with_port
from airflow_provider_crewai.client.fields import Complaint


def normal_proxy(text: str) -> str:
    """Return a proxy's URL in the one form that every HTTP library understands: with scheme, host and port.

    :raises Complaint: it is not a URL, or a kind of proxy that only one of the two shells could use.
    """
    try:
        url = split(text if "://" in text else f"http://{text}")
    except Complaint as why:
        raise Complaint(f"{why} (in a password write / as %2F, ? as %3F and # as %23)") from None
    if url.scheme != "http":
        raise Complaint(_other_scheme(url.scheme))
    if not url.hostname:
        raise Complaint("names no host; write it as http://proxy.example:3128")
    if url.path.strip("/") or url.query or url.fragment:
        raise Complaint("holds a path or a query, but a proxy has none; write it as http://proxy.example:3128")
    return f"http://{_userinfo(url)}{with_port(normal_host(url.hostname), url.port or 80)}"


def _other_scheme(scheme: str) -> str:
    if scheme == "https":
        return (
            "is an https:// URL; only a proxy that is reached over http:// can be used. Most proxies can be, also for "
            "crews at https://: write http:// before its name"
        )
    return f"is a proxy of the kind {scheme!r}; only an HTTP proxy can be used, such as http://proxy.example:3128"


def _userinfo(url: SplitResult) -> str:
    user, password = _plain(url.username or ""), _plain(url.password or "")
    if not user and not password:
        return ""
    if not user or ":" in user:
        raise Complaint("needs a user name without a colon before its password")
    return f"{quote(user, safe='')}:{quote(password, safe='')}@"


def _plain(escaped: str) -> str:
    try:
        text = unquote(escaped, errors="strict")
        text.encode("latin-1")  # what both HTTP libraries do with it
    except UnicodeError:
        raise Complaint("has a user or password that cannot be sent; use only Latin characters") from None
    if not text.isprintable():
        raise Complaint("has a user or password with control characters; copy it again")
    return text


def environment_proxy(url: SplitResult) -> tuple[str, str] | None:
    """Return the proxy that the environment names for a URL, and the variable that names it.

    We read it here for both HTTP libraries. If each trusted the environment by itself, a .netrc file could replace our
    Authorization header. Requests to this machine never go through a proxy.

    :raises Complaint: `NO_PROXY` cannot be read.
    """
    proxies = {} if is_loopback(url.hostname or "") else getproxies()
    key = url.scheme if url.scheme in proxies else "all"
    if not proxies.get(key) or _bypassed(url):
        return None
    return proxies[key], _variable(f"{key}_proxy", proxies[key])


def _bypassed(url: SplitResult) -> bool:
    from requests.utils import should_bypass_proxies  # people expect NO_PROXY to work as in requests

    try:
        return should_bypass_proxies(url.geturl(), no_proxy=None)
    except ValueError:
        raise Complaint("holds characters that cannot stand in a list of hosts") from None


def _variable(name: str, value: str) -> str:
    # Settings of the operating system, if any, go by the variable's usual name.
    named = (each for each, held in os.environ.items() if each.lower() == name and held == value)
    return next(named, name.upper())
