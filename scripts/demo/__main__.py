"""The command: `python -m scripts.demo [INPUT]`."""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from candor.errors import CandorError
from client.api import Client
from client.errors import ClientError
from client.files import MediaFile, find_media, item_name
from scripts.demo import server
from scripts.demo.drafting import draft_all
from scripts.demo.installing import fetch_samples, install_models
from scripts.demo.report import table_of, write_report
from serving.config import Settings, load_settings

_OUT = Path("var/demo")
_SOME_FAILED, _COULD_NOT_RUN, _INTERRUPTED = 1, 2, 130


class NothingToDraft(Exception):
    """The input has no images and no recordings."""


def demo(
    source: Annotated[Path | None, typer.Argument(metavar="INPUT", help="Your own images and recordings. Default: samples.")] = None,
    config: Annotated[Path, typer.Option("--config", help="Configuration of the server.")] = Path("configs/default.yaml"),
) -> None:
    """Draft real images and speech through a real server, and show what came of it in a table and in var/demo.

    Exit code: 0 all were drafted, 1 some failed, 2 the demo could not run, 130 interrupted.
    """
    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else 140)
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell's background job, and so the server, would ignore it
        signal.signal(number, _interrupt)
    try:
        code = _run(source, config, console)
    except (server.ServerFailed, ClientError, CandorError, NothingToDraft, OSError) as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        code = _COULD_NOT_RUN
    except KeyboardInterrupt:
        console.print("interrupted", style="yellow")
        code = _INTERRUPTED
    raise typer.Exit(code)


def _run(source: Path | None, config: Path, console: Console) -> int:
    start = time.monotonic()
    settings = load_settings(config)
    own = None if source is None else _own_files(source, console)
    server.refuse_taken(settings.server.host, settings.server.port)
    install_models(settings, console)
    files = own if own is not None else fetch_samples(settings, console)
    log = _OUT / "server.log"
    with server.running(server.serve_command(config), log, console) as process, Client(_url(settings)) as candor:
        server.wait_ready(process, candor, log, console)
        try:
            drafted = draft_all(candor, files, console)
        except ClientError as error:
            raise server.ServerFailed(f"{error}{server.tail(log)}") from error
    console.print(table_of(drafted))
    written = write_report(drafted, _OUT)
    failed = sum(one.error is not None for one in drafted)
    console.print(f"wrote {', '.join(path.name for path in written[:12])}{' …' if len(written) > 12 else ''} to {_OUT}/", highlight=False)
    console.print(f"{len(drafted) - failed} drafts, {failed} failed, {time.monotonic() - start:.0f} s", highlight=False)
    return _SOME_FAILED if failed else 0


def _own_files(source: Path, console: Console) -> list[MediaFile]:
    """Return the media files under a folder, or the one file, each named by its place in the folder."""
    found = find_media([source])
    base = source if source.is_dir() else source.parent
    out = _OUT.resolve()  # what the demo wrote itself is no input
    own = (file for file in found.files if out not in file.path.resolve().parents)
    files = [replace(file, item=item_name(file.path.relative_to(base))) for file in own]
    skipped = ", ".join(f"{n} {reason}" for reason, n in found.skipped.items())
    if not files:
        raise NothingToDraft(f"there is no image and no recording under {source}{f' (skipped: {skipped})' if skipped else ''}")
    console.print(f"input: {len(files)} files of {source}{f' (skipped: {skipped})' if skipped else ''}", highlight=False)
    return files


def _url(settings: Settings) -> str:
    host = settings.server.host
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - a server on all addresses is reached on loopback
    return f"http://[{reached}]:{settings.server.port}" if ":" in reached else f"http://{reached}:{settings.server.port}"


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    typer.run(demo)
