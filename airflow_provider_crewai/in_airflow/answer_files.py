"""Keeps an answer that is too large for XCom in a file in object storage, and reads it back.

Instead of the answer the task returns the file's *manifest*, a small object. A crew writes its answers, so none of them
may pass for a manifest: `xcom.hand_over` sees to that, and what a manifest says of its file is checked.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TypeGuard
from urllib.parse import quote

from airflow_provider_crewai.in_airflow.compat import object_storage_path
from airflow_provider_crewai.in_airflow.object_storage import replace
from airflow_provider_crewai.wire.errors import CrewAnswerNotStored, CrewConfigError
from airflow_provider_crewai.wire.model import JSON, JSONObject
from airflow_provider_crewai.wire.words import line

MARK = "crewai_manifest"
"""The key by which a manifest is known. Its value is the version of the manifest."""

VERSION = 1
TEXT, OBJECT = "text/plain; charset=utf-8", "application/json"
_ENDINGS = {TEXT: ".txt", OBJECT: ".json"}


def check_size(task_id: str, name: str, size: object) -> None:
    """Refuse a size that is none, when the Dag is parsed.

    :raises ValueError: names the task and the argument.
    """
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        raise ValueError(f"Task {task_id!r}: {name} is {size!r}; set it to a number of bytes, or to None for any size.")


def check_folder(folder: str) -> None:
    """Refuse a folder for answers that Airflow cannot use, before money is spent. Nothing is written.

    :raises CrewConfigError: no file system is known for it, or its connection cannot be used.
    """
    try:
        object_storage_path(folder).fs  # noqa: B018 - looks up its file system and its connection
    except Exception as error:
        why = f"{type(error).__name__}: {line(str(error))}"
        raise CrewConfigError(f"result_path {folder!r} cannot be used ({why}). Nothing was sent.") from error


def keep(folder: str, answer: JSON, kickoff_id: str) -> JSONObject:
    """Write the answer to a file that is named like its run, and return the manifest. Twice is the same as once.

    :param folder: as the author wrote it, with the connection's ID if it names one.
    :raises CrewAnswerNotStored: it could not be written.
    """
    content, media_type = _encoded(answer)
    path = f"{folder.rstrip('/')}/{quote(kickoff_id, safe='')}{_ENDINGS[media_type]}"
    try:
        replace(object_storage_path(path), content)
    except Exception as error:
        why = f"its answer could not be written to {path} ({type(error).__name__}: {line(str(error))})."
        raise CrewAnswerNotStored(why, kickoff_id=kickoff_id) from error
    return {
        MARK: VERSION,
        "path": path,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "media_type": media_type,
        "kickoff_id": kickoff_id,
    }


def is_manifest(value: object) -> TypeGuard[JSONObject]:
    """Return whether an XCom is a manifest, and not the answer itself."""
    return isinstance(value, dict) and MARK in value


def fetch(manifest: JSONObject) -> JSON:
    """Return the answer from the file that a manifest names.

    :raises ValueError: this is not the file that the task wrote, or a newer version wrote the manifest.
    :raises OSError: the file cannot be read.
    """
    if manifest[MARK] != VERSION:
        raise ValueError(f"A newer version of airflow-provider-crewai wrote this manifest: {manifest!r}")
    content = object_storage_path(str(manifest["path"])).read_bytes()
    if hashlib.sha256(content).hexdigest() != manifest["sha256"]:
        raise ValueError(f"{manifest['path']} was changed since the task wrote it: its SHA-256 is another one.")
    text = content.decode()
    answer: JSON = text if manifest["media_type"] == TEXT else json.loads(text)
    return answer


def json_text(value: JSON, *, ascii_only: bool = True) -> str:
    """Return the value as JSON, however deep it is."""
    try:
        return json.dumps(value, ensure_ascii=ascii_only)
    except RecursionError:
        # A thread starts with an empty stack, and the value is at most as deep as the decoder could just handle.
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(json.dumps, value, ensure_ascii=ascii_only).result()


def size_of(value: JSON) -> int:
    """Return how many bytes the value takes as JSON."""
    return len(json_text(value, ascii_only=False).encode("utf-8", "surrogatepass"))


def _encoded(answer: JSON) -> tuple[bytes, str]:
    """Return the answer as a person and other programs read it best: a text as it is, anything else as JSON."""
    try:
        if isinstance(answer, str):
            return answer.encode(), TEXT
        return json_text(answer, ascii_only=False).encode(), OBJECT
    except UnicodeEncodeError:  # half a character, which only JSON can write
        return json_text(answer).encode(), OBJECT
