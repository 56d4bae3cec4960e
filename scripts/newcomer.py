"""Times what a newcomer does by README.md alone: `python -m scripts.newcomer DATA`.

It runs the commands of the section "Your own model" as they stand there, on a server of its own that starts with nothing, and prints the
seconds of each. `DATA` is a folder with a model, `models/yolox_nano.onnx`, and labelled photos, `detection/`.

Exit code: 0 the last draft is calibrated within two minutes, 1 it is not, 2 a command failed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from serving.deployments.environment import free_port

ROOT = Path(__file__).resolve().parents[1]
MOST = 120.0  # seconds from the registration to a calibrated draft
SECTION = "## Your own model"
_READY = 240.0  # seconds that the server may take to start
_PHOTOS = 4


class Failed(Exception):
    """A command of README.md failed, or the section is not what this script knows how to run."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command and how long it took."""

    command: str
    seconds: float


def commands(readme: str) -> list[str]:
    """Return the commands of the section's first block, without their comments.

    Raises:
        Failed: there is no such block.
    """
    section = readme.partition(f"\n{SECTION}\n")[2].partition("\n## ")[0]
    block = re.search(r"```sh\n(.*?)```", section, flags=re.DOTALL)
    if block is None:
        raise Failed(f"README.md has no commands under {SECTION!r}")
    lines = (re.sub(r"\s+#.*$", "", line).strip() for line in block[1].replace("\\\n", " ").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def filled(command: str, places: Mapping[str, Path]) -> str:
    """Return a command with the files of this machine in the place of those that README.md names."""
    for name, path in places.items():
        command = re.sub(rf"(?<=\s){re.escape(name)}(?=\s|$)", str(path), command)
    return command


def run(data: Path, folder: Path) -> tuple[list[Step], list[dict[str, Any]]]:
    """Run the commands in order and return how long each took, and the drafts.

    Raises:
        Failed: one of them failed.
    """
    places = {
        "yolox_nano.onnx": data / "models" / "yolox_nano.onnx",
        "labelled/": data / "detection",
        "photos/": _photos(data, folder / "photos"),
        "drafts.jsonl": folder / "drafts.jsonl",
    }
    serve, *others = commands((ROOT / "README.md").read_text(encoding="utf-8"))
    if not serve.startswith("make serve"):
        raise Failed(f"the first command under {SECTION!r} does not start the server")
    environment = _environment(folder)
    steps = []
    with _server(serve.rstrip("& "), environment, folder / "server.log") as seconds:
        steps.append(Step(serve, seconds))
        steps.extend(Step(command, _timed(filled(command, places), environment)) for command in others)
    drafts = [json.loads(line) for line in places["drafts.jsonl"].read_text(encoding="utf-8").splitlines()]
    return steps, drafts


def honest(draft: Mapping[str, Any]) -> bool:
    """Say whether a draft carries confidences, and says what they are worth."""
    return draft.get("confidence_status") in ("calibrated", "unverified") and all(
        0 <= label["confidence"] <= 1 for label in draft.get("labels") or ()
    )


def main(arguments: list[str] | None = None) -> int:
    """Run it and print the seconds."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="candor-newcomer-"))
    try:
        steps, drafts = run(Path(given[0]).resolve(), folder)
    except Failed as failed:
        print(f"error: {failed}", file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for step in steps:
        print(f"{step.seconds:7.1f} s  {step.command}")
    total = sum(step.seconds for step in steps[1:])
    right = bool(drafts) and any(draft.get("labels") for draft in drafts) and all(map(honest, drafts))
    print(f"{total:7.1f} s  from the registration to {len(drafts)} drafts, {'with' if right else 'WITHOUT'} honest confidences")
    return 0 if right and total <= MOST else 1


def _photos(data: Path, folder: Path) -> Path:
    folder.mkdir()
    for path in sorted((data / "detection" / "images").iterdir())[:_PHOTOS]:
        shutil.copy(path, folder)
    return folder


def _environment(folder: Path) -> dict[str, str]:
    """A server of its own: another port, and nothing that an earlier one left, except for the built-in models."""
    port = str(free_port())
    own = {
        "CANDOR_SERVER__PORT": port,
        "CANDOR_URL": f"http://127.0.0.1:{port}",
        "CANDOR_STORAGE__DATABASE_URL": f"sqlite+aiosqlite:///{folder}/candor.db",
        "CANDOR_STORAGE__BLOBS": str(folder / "blobs"),
        "CANDOR_STORAGE__MODELS": str(folder / "models"),
    }
    return {**os.environ, **own}  # noqa: TID251 - for the commands; nothing is read from it here


@contextmanager
def _server(command: str, environment: Mapping[str, str], log: Path) -> Iterator[float]:
    """Start the server, yield the seconds until it is ready, and stop it."""
    start = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["/bin/bash", "-c", f"exec {command}"], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    try:
        _wait_ready(process, environment["CANDOR_URL"], log)
        yield time.monotonic() - start
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


def _wait_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + _READY
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(f"{url}/readyz", timeout=10, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise Failed(f"the server is not ready:\n{log.read_text(encoding='utf-8', errors='replace')[-3000:]}")


def _timed(command: str, environment: Mapping[str, str]) -> float:
    start = time.monotonic()
    done = subprocess.run(["/bin/bash", "-c", command], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise Failed(f"{command} ended with code {done.returncode}")
    return time.monotonic() - start


if __name__ == "__main__":
    sys.exit(main())
