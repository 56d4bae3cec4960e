"""The command `candor families`. What is heavy is imported when it runs."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from candor.errors import CandorError, InvalidRequest
from serving.console import told

if TYPE_CHECKING:
    from candor.families import Family

Task: TypeAlias = Literal["detection", "transcription", "classification"]  # as candor.predictions has it, which imports arrays

families = typer.Typer(help="Bring your own Python code as a model family.", no_args_is_help=True)

_Task = Annotated[Task, typer.Option("--task", help="What it is to draft.")]


@families.callback()
def _families() -> None:
    """Bring your own Python code as a model family."""


@families.command("list")
def list_families() -> None:
    """List the installed families: whose they are, and what they draft."""
    from rich.table import Table  # noqa: PLC0415

    from candor.families import family_names, is_own  # noqa: PLC0415
    from models.isolated import family_for  # noqa: PLC0415

    with told() as (console, _):
        table = Table("family", "of", "tasks")
        for name in family_names():
            try:
                tasks = ", ".join(sorted(family_for(name).tasks))
            except CandorError as error:
                tasks = f"can't be used: {error.detail}".replace("[", r"\[")
            except ImportError as error:  # an extra of Candor's own that is not installed
                tasks = f"needs {error.name or error}"
            table.add_row(name, "you" if is_own(name) else "Candor", tasks)
        console.print(table)


@families.command("new")
def new(
    name: Annotated[str, typer.Argument(help="Name of the family: small letters, digits, _.")],
    task: _Task = "classification",
    to: Annotated[Path | None, typer.Option("--to", help="Folder to write into. Default: ./candor-NAME.")] = None,
) -> None:
    """Write a package with a family that works: its code, an example model, its test, and what to do next."""
    from serving.own_families.made import make_package  # noqa: PLC0415

    with told() as (console, _):
        folder = to or Path(f"candor-{name.replace('_', '-')}")
        for path in make_package(name, task, folder):
            console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)
        install = f"next: {sys.executable} -m pip install --no-build-isolation --no-deps {folder}"
        console.print(install, markup=False, highlight=False, soft_wrap=True)
        check_it = f"then: candor families check {name} --artifact {folder}/example/model.json"
        console.print(check_it, markup=False, highlight=False, soft_wrap=True)


@families.command("check")
def check(
    name: Annotated[str, typer.Argument(help="Name of an installed family.")],
    artifact: Annotated[str, typer.Option("--artifact", help="Model file that it is to take in.")] = "",
    task: Annotated[Task | None, typer.Option("--task", help="What to check it for. Default: its only task.")] = None,
    sample: Annotated[list[Path] | None, typer.Option("--sample", help="Items of your own. Under three, made ones join them.")] = None,
) -> None:
    """Let a family take a model in, and check it against the rules that every family keeps, as the server would run it."""
    from candor.conformance import NonConformant  # noqa: PLC0415
    from models.isolated import family_for  # noqa: PLC0415

    with told() as (console, err):
        family = family_for(name)
        try:
            for line in _checked(family, _only_task(family, task), artifact, sample or []):
                console.print(f"✓ {line}", markup=False, highlight=False, soft_wrap=True)
        except (NonConformant, RuntimeError) as error:
            err.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(1) from error


def _only_task(family: Family, task: Task | None) -> Task:
    if task is not None and task not in family.tasks:
        raise InvalidRequest(f"the family {family.name} does not draft {task}: only {', '.join(sorted(family.tasks))}")
    found = [task] if task else sorted(family.tasks)
    if len(found) != 1:
        raise InvalidRequest(f"say --task: the family {family.name} has {', '.join(sorted(family.tasks)) or 'none'}")
    return found[0]


def _checked(family: Family, task: Task, artifact: str, given: list[Path]) -> list[str]:
    from candor.conformance import check as conforms  # noqa: PLC0415
    from candor.families import Device  # noqa: PLC0415
    from candor.manifest import Manifest  # noqa: PLC0415
    from models.artifacts import hash_files  # noqa: PLC0415
    from serving.validation import samples  # noqa: PLC0415

    try:
        items = [path.read_bytes() for path in given]
    except OSError as error:
        raise InvalidRequest(f"{error.filename} can't be read: {error.strerror}") from error
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "adopted"
        folder.mkdir()
        source = str(Path(artifact).absolute()) if artifact else "example"
        adopted = family.adopt(source, folder, {"task": task} if family.name == "fake" else {})
        if not any(folder.iterdir()):
            raise InvalidRequest(f"the family {family.name} took {source} in without writing any file")
        manifest = Manifest(
            "checked", task, family.name, hash_files(folder), adopted.labels, adopted.input, adopted.output, adopted.display_threshold
        )
        model = family.load(manifest, folder, Device())
        try:
            bad = samples.BAD[:1] if family.name == "fake" else samples.BAD  # which takes any bytes
            passed = conforms(model, items if len(items) > 2 else [*items, *samples.made(task)], bad)
        finally:
            model.close()
    return [f"took the model in: {', '.join(manifest.files)}", *passed]
