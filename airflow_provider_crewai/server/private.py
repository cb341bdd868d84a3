"""Folders and files for this user alone, as ssh demands for its keys.

A mode protects only what this process creates. So a file or folder that it finds is refused if other users could have
prepared it, or could replace it.
"""

from __future__ import annotations

import grp
import logging
import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_OTHERS = 0o077
_ELSEWHERE = "Or name a folder of your own, which nobody else can replace, with --state."

log = logging.getLogger(__name__)


def folder(path: Path) -> Path:
    """Return a folder that nobody else can read or change. It is created if it is missing.

    If others could only read the user's folder, it is closed to them.

    :returns: its path, with all links resolved.
    :raises OSError: it belongs to another user, or others can write to it or to a folder on the way to it; the message
        says what to do.
    """
    path = path.absolute()
    with suppress(FileNotFoundError):
        path.stat()  # fails if links form a circle
    own = path.resolve()
    for step in _way_to(path):
        if step != own:
            _check_step(step)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    _close(own)
    return own


def opened(file: Path, flags: int) -> int:
    """Open one of the user's files; with `os.O_CREAT` create it, readable by nobody else. Returns the descriptor.

    :raises OSError: it cannot be opened, is a link or not a regular file, has another name (a hard link), belongs to
        another user, or others can write to it.
    """
    if file.is_symlink():
        raise OSError(f"{file} is a link, and the server follows no links here. Delete it.")
    descriptor = os.open(file, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    if fault := _fault(os.fstat(descriptor)):
        os.close(descriptor)
        raise OSError(f"{file} {fault}. Find out where it comes from, then delete it.")
    return descriptor


def file(path: Path) -> Path:
    """Create a file if it is missing. If others could only read the user's file, close it to them.

    :returns: its path.
    :raises OSError: see `opened`.
    """
    descriptor = opened(path, os.O_RDWR | os.O_CREAT)
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
    return path


def write(file: Path, text: str) -> None:
    """Write a text into a file, whole or not at all. It has another name until it is whole: the disk may be full."""
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as writing:
        writing.write(text)
    new.replace(file)


def _way_to(path: Path) -> Iterator[Path]:
    """Yield the folders and links on the way to a path. The path need not exist."""
    for step in reversed((path, *path.parents)):
        yield step
        if step.is_symlink():
            yield from _way_to(step.parent.resolve() / step.readlink())


def _check_step(step: Path) -> None:
    with suppress(FileNotFoundError):
        found = step.lstat()
        _check_owner(step, found, 0)
        # A link has no mode of its own. In a sticky folder, such as /tmp, only the owner of a file can replace it.
        if _others_write(found) and not stat.S_ISLNK(found.st_mode) and not found.st_mode & stat.S_ISVTX:
            raise _open_to_others(step, found, f"Close it to them: chmod go-w {shlex.quote(str(step))}")


def _close(own: Path) -> None:
    found = own.lstat()
    _check_owner(own, found)
    if _others_write(found):
        raise _open_to_others(own, found, f"Check what is in it, then close it: chmod 700 {shlex.quote(str(own))}")
    if found.st_mode & _OTHERS:
        own.chmod(0o700)
        log.warning("other users could read %s; now it is closed to them", own)
    if own.lstat().st_mode & _OTHERS:
        raise OSError(f"{own} stays open to other users, because its file system keeps no modes. {_ELSEWHERE}")


def _check_owner(path: Path, found: os.stat_result, *others: int) -> None:
    if found.st_uid not in (os.geteuid(), *others):
        raise OSError(f"{path} belongs to {_name(found.st_uid)}. {_ELSEWHERE}")


def _open_to_others(path: Path, found: os.stat_result, cure: str) -> OSError:
    return OSError(f"Other users can write to {path} (mode {stat.S_IMODE(found.st_mode):o}). {cure}. {_ELSEWHERE}")


def _fault(found: os.stat_result) -> str | None:
    if not stat.S_ISREG(found.st_mode):
        return "is not a regular file"
    if found.st_uid != os.geteuid():
        return f"belongs to {_name(found.st_uid)}"
    if found.st_nlink > 1:
        return "has a second name (a hard link)"
    return "can be changed by other users" if _others_write(found) else None


def _others_write(found: os.stat_result) -> bool:
    in_group = found.st_mode & stat.S_IWGRP and not _is_private_group(found.st_gid)
    return bool(found.st_mode & stat.S_IWOTH or in_group)


def _is_private_group(gid: int) -> bool:
    """Return whether nobody else is in a group. Debian and Fedora give each user such a group, and the umask 002.

    In Airflow's image the user is in root's group, alone with root. For root itself no group counts as private: root
    needs none.
    """
    try:
        group, user = grp.getgrgid(gid), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    if user.pw_uid == 0 or gid != user.pw_gid or set(group.gr_mem) - {user.pw_name}:
        return False
    others = {each.pw_uid for each in pwd.getpwall() if each.pw_gid == gid} - {0, user.pw_uid} if gid == 0 else ()
    return not others and (gid == 0 or group.gr_name == user.pw_name)


def _name(uid: int) -> str:
    try:
        return f"another user ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return f"another user ({uid})"
