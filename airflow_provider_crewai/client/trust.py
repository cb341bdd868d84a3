"""Whose certificates we trust: one TLS context for each bundle, shared by both shells."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable
from pathlib import Path

from airflow_provider_crewai.client.fields import Complaint
from airflow_provider_crewai.wire import words

_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")
"""How `openssl rehash` names a certificate in a directory."""

VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables that may name a bundle: those of `requests` first, then OpenSSL's. The first that is set counts."""

_made: dict[str, tuple[object, ssl.SSLContext]] = {}
"""The context of each bundle, with what the bundle looked like when it was read."""


def trusting(bundle: str) -> ssl.SSLContext:
    """Return the context that trusts the certificates of a bundle: a PEM file, or a directory of hashed ones.

    Reading a bundle takes some 50 ms, so the context is kept until the bundle changes.

    :param bundle: a path; several directories are joined by colons, as OpenSSL reads them.
    :raises Complaint: there are no certificates.
    """
    return _kept(bundle, _look(bundle), lambda: _read(bundle))


def trusting_everyone() -> ssl.SSLContext:
    """Return a context that checks no certificate."""
    return _kept("", None, _unchecked)


def usual_bundle() -> str:
    """Return the roots that `requests` trusts by default."""
    import certifi

    return certifi.where()


def _kept(name: str, look: object, make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    before, context = _made.get(name, (None, None))
    if context is None or before != look:
        context = make()
        context.set_alpn_protocols(["http/1.1"])
        _made[name] = (look, context)
    return context


def _unchecked() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _look(bundle: str) -> object:
    try:
        return [(found.st_mtime_ns, found.st_size, found.st_ino) for found in map(os.stat, _paths(bundle))]
    except (OSError, ValueError) as error:
        if "-----BEGIN" in bundle:
            raise Complaint("holds the certificates themselves; put them into a file, and name the file") from None
        why = "does not exist on this machine" if isinstance(error, FileNotFoundError) else "cannot be read"
        raise Complaint(f"names {_shown(bundle)}, which {why}") from None


def _shown(bundle: str) -> str:
    return repr(words.line(bundle))


def _paths(bundle: str) -> list[str]:
    parts = [bundle] if os.path.exists(bundle) else bundle.split(os.pathsep)  # noqa: PTH110 - a Path refuses a NUL
    # If it gets several directories, OpenSSL skips those that do not exist.
    return [part for part in parts if os.path.exists(part)] or parts  # noqa: PTH110 - for the same reason


def _read(bundle: str) -> ssl.SSLContext:
    if all(map(os.path.isdir, _paths(bundle))):
        return _read_directories(bundle)
    try:
        context = ssl.create_default_context(cafile=bundle)
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror
        raise Complaint(f"names {_shown(bundle)}, which is not a PEM file with certificates ({reason})") from None
    if not context.cert_store_stats()["x509"]:
        raise Complaint(f"names {_shown(bundle)}, which holds no certificate")
    return context


def _read_directories(bundle: str) -> ssl.SSLContext:
    names = [entry.name for path in _paths(bundle) for entry in Path(path).iterdir()]
    if not any(map(_HASHED.fullmatch, names)):
        raise Complaint(
            f"names the directory {_shown(bundle)}, which holds no certificate under its hash; run `openssl rehash` "
            "there"
        )
    return ssl.create_default_context(capath=bundle)
