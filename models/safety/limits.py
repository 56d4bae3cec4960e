"""What a process that reads a stranger's file may take, set by itself before it looks at the file."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from dataclasses import dataclass
from pathlib import Path

_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_DEATH_SIGNAL, _NO_NEW_PRIVILEGES = 1, 38
# What libraries map and hardly touch: torch alone maps 3.3 GB and fills 0.5 GB. What is filled is watched from outside.
_MAPPED = 8 * 2**30
_OPEN_FILES = 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """`memory_bytes` is watched exactly from outside; here it stops a single absurd allocation at once."""

    memory_bytes: int
    cpu_seconds: int
    file_bytes: int


def confine(limits: Limits) -> dict[str, bool]:
    """Set the limits of this process and all that it starts; return which of those hold that a kernel may refuse."""
    _with_parent()
    alone = _leave_network()
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, limits.file_bytes)
    _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _limit(resource.RLIMIT_CPU, limits.cpu_seconds)
    _limit(resource.RLIMIT_AS, limits.memory_bytes + _MAPPED)
    return {"network": not alone}


def _limit(which: int, most: int) -> None:
    """Lower a limit; one that is lower already stays."""
    _, hard = resource.getrlimit(which)
    value = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(which, (value, value))


def _with_parent() -> None:
    """Die when the process that started this one does, and never gain a right by starting another program."""
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def _leave_network() -> bool:
    """Move into a network of this process's own, with no way out; False where the kernel lets nobody do so."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(_NEW_NET) == 0:
        return True
    user, group = os.getuid(), os.getgid()
    if library.unshare(_NEW_USER | _NEW_NET) != 0:
        return False
    try:  # be who one was, as far as files go
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    except OSError:
        pass
    return True
