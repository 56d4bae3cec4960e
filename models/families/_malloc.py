"""What this process holds in memory by malloc, of all threads: for libraries that don't say what they take."""

from __future__ import annotations

import ctypes
import re

_SIZES = re.compile(rb'<(?:total|system) type="(fast|rest|mmap|current)"(?: count="\d+")? size="(\d+)"/>')


def in_use() -> int:
    """Return the bytes that are handed out now, as glibc counts them; 0 where there is no glibc.

    A tenth of a millisecond. Other threads' bytes are in it: a difference of two is as good as they are quiet.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_info") or not hasattr(libc, "open_memstream"):
        return 0
    libc.open_memstream.restype = ctypes.c_void_p
    libc.free.argtypes = libc.fclose.argtypes = [ctypes.c_void_p]
    libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
    text, length = ctypes.c_void_p(), ctypes.c_size_t()
    stream = libc.open_memstream(ctypes.byref(text), ctypes.byref(length))
    if not stream:
        return 0
    done = libc.malloc_info(0, stream)
    libc.fclose(stream)
    report = ctypes.string_at(text.value, length.value) if done == 0 and text.value else b""
    libc.free(text)
    last = dict(_SIZES.findall(report))  # the totals stand after those of each arena
    return sum(int(last.get(kind, 0)) * sign for kind, sign in ((b"current", 1), (b"mmap", 1), (b"fast", -1), (b"rest", -1)))
