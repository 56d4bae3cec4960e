"""HAProxy as Ray Serve starts it, with a few things changed that Serve has no setting for.

Serve writes the configuration and calls the program that RAY_SERVE_HAPROXY_BINARY_PATH names. That is a short script of ours, which
edits the file and becomes HAProxy:

- The whole request is buffered (up to a bound) before a replica gets it, so that it can be sent again when the replica dies.
- Each request gets a connection of its own to the replica. Where one that was used before breaks, HAProxy closes the client's without a
  word, so that the client sends its request again; ours is to be told what happened.
- Metrics and statistics listen on loopback, not on every interface.
- Nothing is logged to syslog: Serve's lines hold whole addresses, and tools' addresses hold secrets. Candor logs requests itself.
- What HAProxy answers by itself, when no replica can, is a problem as the API describes it.
"""

from __future__ import annotations

from pathlib import Path

BUFFER = 2**20  # bytes; a larger request whose replica dies is told so

_LOST = (
    '{"type":"/problems/worker_lost","title":"The worker that drafted this item stopped","status":503,"code":"worker_lost",'
    '"detail":"the process that drafted this request stopped, or none is ready; send it again","retryable":true,"retry_after":5}'
)
_EDITS = (
    r"/^    log global$/d",
    r"/^    option httplog$/d",
    r"s|^    option abortonclose$|&\n    option http-buffer-request|",
    r"s|^    http-reuse always$|    option http-server-close|",
    r"s|^    bind :\([0-9]*\)$|    bind 127.0.0.1:\1|",
    r"s|^  bind \*:\([0-9]*\)$|  bind 127.0.0.1:\1|",
    r"s|^    errorfile \(50[234]\) .*$|    errorfile \1 {page}|",
)


def write_program(folder: Path, program: str) -> Path:
    """Write the script and the error page into this run's folder; return the script's path. `program` is HAProxy's own."""
    page = folder / "lost.http"
    head = ("HTTP/1.1 503 Service Unavailable", "Content-Type: application/problem+json", "Retry-After: 5", f"Content-Length: {len(_LOST)}")
    page.write_text("\r\n".join([*head, "", _LOST]), newline="")
    edits = " ".join(f"-e '{edit.format(page=page) if '{page}' in edit else edit}'" for edit in _EDITS)
    script = folder / "haproxy"
    script.write_text(
        "#!/bin/sh\n"
        'previous=""\n'
        'for argument in "$@"; do\n'
        f'  [ "$previous" != -f ] || sed -i {edits} "$argument"\n'
        "  previous=$argument\n"
        "done\n"
        f'exec "{program}" "$@"\n'
    )
    script.chmod(0o700)
    return script
