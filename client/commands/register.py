"""The command `candor models register`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from client.api import Client
from client.commands.draft import TaskName
from client.commands.options import DEFAULT_URL, Json, Key, Url, is_file, print_json, progress_on
from client.commands.told import FAILED_REQUEST, told
from client.manifests import Given, manifest_of, read_manifest
from client.reports import next_steps, show_version


def register(  # noqa: PLR0913, PLR0917 - one argument per option
    name: Annotated[str, typer.Argument(help="Name of the model. One that is there gets a further version.")],
    artifact: Annotated[Path, typer.Option("--artifact", help="The model's file: .onnx, .pt, .safetensors, .pth.")],
    family: Annotated[
        str | None,
        typer.Option("--family", help="What runs it: onnx, ultralytics, timm, whisper, or a family of your own. Default: onnx for .onnx."),
    ] = None,
    task: Annotated[
        TaskName | None, typer.Option("--task", help="What it is for. Default: the family's only task, where it has one.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels", help="Its classes: a file (a label a line, JSON, YAML), coco80, imagenet1k, or from-model. Default: from-model."
        ),
    ] = None,
    size: Annotated[
        str | None, typer.Option("--size", help="Size of the network's input: WIDTHxHEIGHT, or one number for a square.")
    ] = None,
    preprocess: Annotated[
        list[str] | None,
        typer.Option("--preprocess", metavar="KEY=VALUE", help="How an item becomes the input: layout, mean, std, … Repeatable."),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            "--head", help="ONNX: the kind of output: ultralytics, yolox, detr, logits, … Default: told from the file where it can be."
        ),
    ] = None,
    postprocess: Annotated[
        list[str] | None,
        typer.Option("--postprocess", metavar="KEY=VALUE", help="What the output means: activation, nms_iou, … Repeatable."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", metavar="KEY=VALUE", help="Any other option of the family: architecture=resnet50. Repeatable."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", min=0.0, max=1.0, help="Detection: boxes that score less are not shown. Default: 0.25.")
    ] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="Licence of the weights, such as Apache-2.0.")] = None,
    notes: Annotated[str | None, typer.Option("--notes", help="What its users should know.")] = None,
    metadata: Annotated[
        list[str] | None, typer.Option("--metadata", metavar="KEY=VALUE", help="Whatever you want to remember of it. Repeatable.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="A manifest, JSON or YAML; the options above are taken over it.")
    ] = None,
    alias: Annotated[
        str | None,
        typer.Option("--alias", help="Point this alias to the version once it is ready. A model's first version gets production."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the validation and show its report.")] = True,
    url: Url = DEFAULT_URL,
    key: Key = None,
    json: Json = False,
) -> None:
    """Register a model file as a new version of a model.

    The file is uploaded (a large one in parts: the same command goes on where a broken connection left it) and validated by a process of
    its own: loaded, run on samples, measured. A version that fails never drafts; one that passes is there at once, without a restart.

    Exit code: 0 it is ready, or with --no-wait is validated now; 2 it failed.
    """
    given = Given(
        family=family,
        task=task.value if task else None,
        labels=labels,
        size=size,
        preprocess=preprocess or (),
        head=head,
        postprocess=postprocess or (),
        options=option or (),
        threshold=threshold,
        licence=licence,
        notes=notes,
        metadata=metadata or (),
    )
    with told() as console, Client(url, key=key) as candor:
        described = manifest_of(is_file(artifact), given, read_manifest(manifest) if manifest is not None else None)
        with progress_on(console) as bars:
            found = candor.register(name, artifact, described, bars)
            if wait:
                found = candor.wait_version(found, bars.phase("validating"))
        if not wait:
            _left(console, found, json, alias)
            return
        if alias is not None and found["state"] == "ready":
            candor.set_alias(name, alias, _digest(found))
            found = candor.version(name, str(found["id"]))
        finish(console, found, json)


def finish(console: Console, found: Mapping[str, Any], json: bool) -> None:
    """Show a validated version, and what to do next; leave with code 2 where it is not ready."""
    ready = found["state"] == "ready"
    if json:
        print_json(found)
    else:
        show_version(Console() if ready else console, found)
        for line in next_steps(found) if ready else ["mend it and register it again: this version never drafts"]:
            console.print(line, style="dim" if ready else None, highlight=False, markup=False, soft_wrap=True)
    if not ready:
        raise typer.Exit(FAILED_REQUEST)


def _left(console: Console, found: Mapping[str, Any], json: bool, alias: str | None) -> None:
    if json:
        print_json(found)
    else:
        where = f"{found['model']}@{found['id']}"
        console.print(f"{where} is validated now; see what comes of it: candor models watch {where}", highlight=False, soft_wrap=True)
    if alias is not None:
        then = f"candor models alias set {found['model']}@{alias} {found['id']}"
        console.print(f"--alias waits for a version that is ready: then {then}", style="yellow", highlight=False, soft_wrap=True)


def _digest(found: Mapping[str, Any]) -> str:
    return str(found["version"]).rpartition("@")[2]
