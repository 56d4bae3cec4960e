"""Many files tried one after another in one process, to be quick; where it dies another goes on with the next file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.integration.validation.trying import examined

_SECONDS = 240


def examined_apart(files: Sequence[bytes], family: str, filename: str, folder: Path) -> list[dict[str, Any] | None]:
    """Return what was found for each file; None where the process that tried it died."""
    parts = folder / "parts"
    parts.mkdir()
    for number, data in enumerate(files):
        (parts / str(number)).mkdir()
        (parts / str(number) / filename).write_bytes(data)
    found: list[dict[str, Any] | None] = []
    while len(found) < len(files):
        command = [sys.executable, "-m", __name__, str(parts), str(len(found)), str(len(files)), family, filename]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=_SECONDS, check=False)
        found += [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b'{"memory')]
        if len(found) < len(files):
            assert done.returncode < 0, f"the process ended with code {done.returncode} and said nothing"
            found.append(None)
    return found


def main(parts: str, first: str, last: str, family: str, filename: str) -> None:
    for number in range(int(first), int(last)):
        found = examined(Path(parts) / str(number) / filename, family, Path(parts) / "there", batches=(1,))
        print(json.dumps(found), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
