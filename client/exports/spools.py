"""Keeps records on the disk until they are needed, so that memory does not grow with the number of items."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Spool:
    """Takes JSON values, and gives them back in order. It lies beside what is written: there is room there, if anywhere."""

    def __init__(self, near: Path | None) -> None:
        self._file = tempfile.TemporaryFile("w+", encoding="utf-8", dir=near)  # noqa: SIM115 - `close` ends it

    def add(self, value: Any) -> None:
        """Take a value."""
        self._file.write(json.dumps(value) + "\n")

    def __iter__(self) -> Iterator[Any]:
        self._file.seek(0)
        return map(json.loads, self._file)

    def close(self) -> None:
        """Forget all."""
        self._file.close()
