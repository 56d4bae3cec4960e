"""The process in which a stranger's model is tried: `python -m serving.validation.sandbox SCRATCH`.

It has no database, no key and none of the server's environment, and bounds itself before it looks at the file; its parent
(`serving.validation.trial`) watches its memory and its time. What it found is JSON in its scratch folder.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from models.safety.limits import Limits, confine
from serving.validation.order import ORDER, PROGRESS, RESULT, Order

_FILES = 256 * 2**20  # bytes that any file may have beside four times the artifact's
_SPARE_SECONDS = 30


def main(scratch: Path) -> int:
    """Try the model that is ordered in `scratch`."""
    order = Order.from_json(json.loads((scratch / ORDER).read_text(encoding="utf-8")))
    seconds = int(order.seconds * order.threads) + _SPARE_SECONDS
    held = confine(Limits(order.memory_bytes, seconds, _FILES + 4 * order.artifact.stat().st_size))

    from serving.validation.examine import examine  # noqa: PLC0415 - nothing large is imported before the limits stand

    def at(share: float, step: str) -> None:
        _write(scratch / PROGRESS, {"share": share, "step": step})

    found = examine(order, at)
    _write(scratch / RESULT, {**found, "confined": held})
    return 0


def _write(path: Path, value: Any) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value), encoding="utf-8")
    os.replace(part, path)


if __name__ == "__main__":
    code = main(Path(sys.argv[1]))
    os._exit(code)  # without the destructors of whatever was loaded
