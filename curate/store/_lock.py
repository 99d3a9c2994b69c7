"""One writer: the file `lock`, held by flock, which says who holds it.

The kernel drops a flock when its holder dies, so a dead holder's lock is free at once.  The content (pid, the process's start
time, host, since when, command) is for people, and for one case the kernel cannot see: a forked child that outlives the
holder keeps the flock; the holder named in the file is then known to be dead (pid gone, or reused: another start time) and a
new lock file replaces the old one.  Every decision is taken under a short flock on the store's folder, so that of many
processes exactly one wins.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from curate.errors import Locked, StoreError
from curate.store._disk import FILE_MODE

GATE_S = 10.0
"""Longest wait for the moment in which somebody else takes the decision."""


class WriteLock:
    """The right to write to one store, held until `release` or the end of the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def acquire(self) -> None:
        """Takes the lock; raises Locked at once, with pid, host, since and command of its holder."""
        try:
            self._acquire()
        except OSError as err:
            raise StoreError(f"cannot lock {self.path} for writing: {err.strerror or err}") from err

    def _acquire(self) -> None:
        gate = self._enter_gate()
        try:
            fd = self._open()
            if not _try_flock(fd, self.path):
                holder = _read(fd)
                os.close(fd)
                if not _is_dead(holder):
                    raise Locked(_busy(self.path, holder))
                self.path.unlink(missing_ok=True)
                fd = self._open()
                if not _try_flock(fd, self.path):
                    os.close(fd)
                    raise Locked(_busy(self.path, {}))
            self._fd = fd
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(_myself()).encode(), 0)
        except BaseException:
            self.release()
            raise
        finally:
            os.close(gate)

    def release(self) -> None:
        """Gives the lock back; harmless when it is not held."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)

    def _enter_gate(self) -> int:
        gate = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        deadline = time.monotonic() + GATE_S
        try:
            while not _try_flock(gate, self.path):
                if time.monotonic() > deadline:
                    raise Locked(_busy(self.path, {}))
                time.sleep(0.002)
        except BaseException:
            os.close(gate)
            raise
        return gate


def _try_flock(fd: int, path: Path) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as err:
        if err.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise StoreError(
            f"{path} lies on a disk that cannot lock files ({err.strerror}): put the store on a local one"
        ) from err
    return True


def _read(fd: int) -> dict[str, Any]:
    try:
        holder = json.loads(os.pread(fd, 65536, 0))
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _busy(path: Path, holder: dict[str, Any]) -> str:
    who = "another process"
    if holder:
        who = f"process {holder.get('pid')} on {holder.get('host')} since {holder.get('since')} ({holder.get('command')})"
    return f"the store {path.parent} is being written by {who}. Wait for it to end, or stop it."


def _is_dead(holder: dict[str, Any]) -> bool:
    """Whether the named process is known to be gone; False whenever that cannot be known (another host or container)."""
    pid = holder.get("pid")
    if not isinstance(pid, int) or holder.get("where") != _place():
        return False
    return _start_of(pid) != holder.get("start")


def _start_of(pid: int) -> str | None:
    """The start time of a process; None when there is none.  A pid given to another process has another start time."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return ""


def _place() -> str:
    """What makes a pid mean something: host, boot and pid namespace."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _myself() -> dict[str, Any]:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200]
    pid = os.getpid()
    return {
        "pid": pid,
        "host": socket.gethostname(),
        "since": now,
        "start": _start_of(pid),
        "where": _place(),
        "command": command,
    }
