"""The commands `candor backup` and `candor restore`. What is heavy is imported when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from serving.console import told

_DEFAULT_CONFIG = Path("configs/default.yaml")
_Config = Annotated[Path, typer.Option("--config", help="Configuration file; its storage section names the database and the blobs.")]


def backup(
    to: Annotated[Path, typer.Option("--to", help="Folder for the backup: a new or an empty one.")],
    config: _Config = _DEFAULT_CONFIG,
    blobs: Annotated[
        bool,
        typer.Option("--blobs/--no-blobs", help="Copy uploads and model files too. Without them the bucket needs a backup of its own."),
    ] = True,
) -> None:
    """Back up the database and the blobs into a folder, while the server runs.

    PostgreSQL is backed up by `pg_dump`, which must be installed.
    """
    with told() as (out, err):
        from serving.config import absolute, load_settings  # noqa: PLC0415
        from store import backup as backups  # noqa: PLC0415

        storage = absolute(load_settings(config), Path.cwd()).storage
        made = backups.backup(
            storage.database_url, storage.blobs, to, with_blobs=blobs, tell=lambda what: out.print(f"copied: {what}", highlight=False)
        )
        for sha256 in made.missing:
            err.print(
                f"warning: blob {sha256} is named by a row and is not there: it is not in the backup", highlight=False, soft_wrap=True
            )
        out.print(f"done: {to}", markup=False, highlight=False, soft_wrap=True)


def restore(
    source: Annotated[Path, typer.Option("--from", help="Folder of a backup.")],
    config: _Config = _DEFAULT_CONFIG,
) -> None:
    """Restore a backup to where the configuration says, if there is no database yet. All of the backup is checked first.

    Stop the server before, and start it afterwards. PostgreSQL is restored by `pg_restore`, which must be installed.
    """
    with told() as (out, _):
        from serving.config import absolute, load_settings  # noqa: PLC0415
        from store import backup as backups  # noqa: PLC0415

        storage = absolute(load_settings(config), Path.cwd()).storage
        backups.restore(source, storage.database_url, storage.blobs, tell=lambda what: out.print(f"restored: {what}", highlight=False))
