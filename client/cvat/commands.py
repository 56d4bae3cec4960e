"""`candor cvat …`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from client.api import Client
from client.commands.options import DEFAULT_URL, Key, Url, progress_on
from client.commands.told import told
from client.cvat.annotate import How, annotate
from client.cvat.described import described
from client.cvat.frames import Frame
from client.errors import BadOption, ClientError

_SHOWN_FAILURES = 20

cvat = typer.Typer(help="Draft tasks of a CVAT server.", no_args_is_help=True)


@cvat.callback()
def _group() -> None:
    """Make this a group of commands, though it has one."""


@cvat.command("annotate")
def annotate_task(  # noqa: PLR0913, PLR0917 - one argument per option
    task: Annotated[int, typer.Argument(help="Id of the task.")],
    cvat_url: Annotated[str, typer.Option("--cvat", envvar="CVAT_URL", show_envvar=False, help="Address of the CVAT server.")],
    model: Annotated[str | None, typer.Option("--model", help="Model that drafts. Default: the project's.")] = None,
    project: Annotated[str | None, typer.Option("--project", help="Project of Candor that the drafts belong to.")] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    token: Annotated[
        str | None,
        typer.Option(
            "--cvat-token", envvar="CVAT_ACCESS_TOKEN", show_envvar=False, help="Access token of CVAT. Default: CVAT_ACCESS_TOKEN."
        ),
    ] = None,
    organization: Annotated[str | None, typer.Option("--organization", help="Short name of the organization in CVAT.")] = None,
    threshold: Annotated[
        float | None, typer.Option("--conf-threshold", min=0, max=1, help="Leave out labels with a confidence below it.")
    ] = None,
    clear: Annotated[bool, typer.Option("--clear-existing", help="Replace all annotations of the task. Default: add to them.")] = False,
    unmatched: Annotated[
        bool, typer.Option("--allow-unmatched-labels", help="Leave out labels of the model that the task does not have.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the drafts to this file, a line of JSON for each frame.")] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, max=256, help="Most frames in one request.")] = 16,
    jobs: Annotated[int, typer.Option("--jobs", min=1, max=64, help="Most requests at once.")] = 4,
) -> None:
    """Draft all frames of a task in batches, and write the labels to it in one request.

    Where it was interrupted, run it again: nothing is written before all frames are drafted, what was drafted is answered at once, and a
    label that the task has already is not added twice. CVAT's user and password: make an access token in your profile there.

    Exit code: 0 all frames were drafted, 1 some failed, 2 nothing was written.
    """
    how = How(threshold, clear, unmatched, batch, jobs)
    with told() as console, Client(url, key=key) as candor, _task(cvat_url, token, organization, task) as found, _lines(out) as write:
        what = described(candor, model, project)
        with progress_on(console) as bars:
            outcome = annotate(found, candor, what, how, write, lambda done, total: bars("drafting", done / total))
        for frame, error in outcome.failures[:_SHOWN_FAILURES]:
            console.print(f"frame {frame.number} ({frame.name}): {error['detail']}", style="red", markup=False, soft_wrap=True)
        known = f", {outcome.known} were there before" if outcome.known else ""
        failed = f", {len(outcome.failures)} frames failed" if outcome.failures else ""
        console.print(f"{outcome.frames} frames, {outcome.written} labels written{known}{failed}", highlight=False, soft_wrap=True)
    raise typer.Exit(1 if outcome.failures else 0)


@contextmanager
def _task(url: str, token: str | None, organization: str | None, number: int) -> Iterator[Any]:
    """Yield a task of CVAT; what CVAT refuses is told as this client's errors are."""
    try:
        sdk, exceptions = import_module("cvat_sdk"), import_module("cvat_sdk.exceptions")
    except ModuleNotFoundError as error:
        raise BadOption("this needs the package cvat-sdk: pip install cvat-sdk") from error
    try:
        with sdk.make_client(url, access_token=token) as server:
            if organization:
                server.organization_slug = organization
            yield server.tasks.retrieve(number)
    except exceptions.ApiException as error:
        raise CvatRefused(f"CVAT at {url} answered {error.status} {error.reason}: {str(error.body)[:300]}") from error
    except import_module("urllib3.exceptions").HTTPError as error:
        raise CvatRefused(f"CVAT at {url} can't be reached: {error}") from error


class CvatRefused(ClientError):
    """CVAT refused a request, or does not answer."""


@contextmanager
def _lines(out: Path | None) -> Iterator[Any]:
    """Yield what writes a draft with its frame as a line; nothing where no file is wanted."""
    if out is None:
        yield lambda frame, draft: None
        return
    with out.open("w", encoding="utf-8") as file:

        def write(frame: Frame, draft: Mapping[str, Any]) -> None:
            cvat_frame = {"frame": frame.number, "name": frame.name}
            file.write(json.dumps({**draft, "cvat": cvat_frame}, ensure_ascii=False) + "\n")

        yield write
