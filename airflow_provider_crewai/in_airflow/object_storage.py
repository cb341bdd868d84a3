"""Writes a file in object storage so that a crash leaves either the old file or the new one."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

_RENAMES = ("", "file", "local", "sftp", "ssh")
"""Protocols of file systems whose rename replaces a file in one step. On an object store, a PUT is one step already."""


def replace(file: Any, content: bytes) -> None:
    """Write a file, with its folders, or replace it.

    :param file: an `ObjectStoragePath`.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.protocol not in _RENAMES:
        file.write_bytes(content)
        return
    draft = file.parent / f"{file.name}.{uuid4().hex}.draft"
    draft.write_bytes(content)
    draft.fs.mv(draft.path, file.path)
