"""Brings addresses into one normal form, which every HTTP library understands in the same way."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from string import ascii_letters, digits
from urllib.parse import SplitResult, quote, urlsplit

from airflow_provider_crewai.client.fields import Complaint

DEFAULT_PORTS = {"http": 80, "https": 443}
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset(ascii_letters + digits + "-._~")
_IN_PATHS = "/!$&'()*+,;=:@~%"
"""RFC 3986, section 3.3: the signs that a path may hold unescaped, and % for the escapes themselves."""


def split(text: str) -> SplitResult:
    """Split a URL into its parts.

    :raises Complaint: it is not a URL. The message does not quote it, because it may hold a password.
    """
    if not text.isprintable() or len(text.split()) > 1:
        raise Complaint("holds spaces or characters that no URL has; copy it again")
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise Complaint("is not a URL; its host or port cannot be read") from None
    if port == 0:
        raise Complaint("names port 0, which no server has")
    return url


def authority(url: SplitResult) -> str:
    """Return host and port in their normal form, without the scheme's own port.

    :raises Complaint: the host is not valid.
    """
    host = normal_host(url.hostname or "")
    return with_port(host, url.port if url.port != DEFAULT_PORTS.get(url.scheme) else None)


def with_port(host: str, port: int | None) -> str:
    """Return a host with its port, as a URL writes them."""
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def bracketed(host: str) -> str:
    """Return a bare IPv6 address in brackets, as a URL needs it: Airflow removes them if a connection is a URI."""
    with suppress(ValueError):
        return f"[{ipaddress.IPv6Address(host)}]"
    return host


def normal_host(host: str) -> str:
    """Return a host name as DNS writes it, or an IP address in its shortest form.

    :raises Complaint: it is neither.
    """
    if ":" in host:
        return _ip_address(host)
    name = _as_dns_writes_it(host).removesuffix(".").lower()
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):  # noqa: PLR2004 - RFC 1035, section 2.3.4
        raise Complaint("names a host that is not valid; copy the address from the crew's page")
    return _ip_address(name) if _NUMBER.fullmatch(labels[-1]) else name


def _as_dns_writes_it(host: str) -> str:
    if host.isascii() and "xn--" not in host.lower():
        return host
    import idna  # comes with both HTTP libraries, which use it, too

    try:
        return idna.encode(host, uts46=True).decode()
    except ValueError:
        raise Complaint("names a host that is not a valid internationalised name (IDNA)") from None


def _ip_address(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise Complaint("names a host that looks like an IP address but is not one") from None
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id:
        raise Complaint("names an IPv6 address with a zone, which only this machine understands")
    return str(address)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def normal_path(path: str) -> str:
    """Return a path with one slash before each part and none at its end.

    :raises Complaint: it holds `.` or `..`, which libraries resolve in different ways, or an incomplete escape.
    """
    escaped = _ESCAPE.sub(_shortest, quote(path, safe=_IN_PATHS))
    if "%" in _ESCAPE.sub("", escaped):
        raise Complaint("holds a % that escapes nothing; write it as %25")
    parts = [part for part in escaped.split("/") if part]
    if {".", ".."} & set(parts):
        raise Complaint("holds '.' or '..' as a part of its path; write the path without them")
    return "".join(f"/{part}" for part in parts)


def _shortest(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if character in _UNRESERVED else escape[0].upper()
