"""The command `candor serve`. What is heavy is imported when it runs."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from candor.errors import CandorError

_DEFAULT_CONFIG = Path("configs/default.yaml")


def serve(
    config: Annotated[Path, typer.Option("--config", help="Configuration file.")] = _DEFAULT_CONFIG,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Ask nobody for an API key. Only where the server listens on this machine alone.")
    ] = False,
) -> None:
    """Start the server; Ctrl-C stops it when drafts in flight are done, a second Ctrl-C at once.

    Where there is no API key yet, one is made and printed, once, on standard output.
    """
    from serving.config import absolute, load_settings, set_environment  # noqa: PLC0415
    from serving.telemetry import configure_logs  # noqa: PLC0415

    folder = Path(tempfile.mkdtemp(prefix="candor-"))
    try:
        if no_auth:
            set_environment({"CANDOR_SERVER__AUTH": "none"})
        settings = absolute(load_settings(config), Path.cwd())
        (folder / "metrics").mkdir()
        configure_logs(settings.server, "serve")

        from serving.composition import check_store, read_calibrations  # noqa: PLC0415
        from serving.deployments.environment import ray_environment  # noqa: PLC0415
        from serving.keys import first_key, framed  # noqa: PLC0415
        from serving.loading import install_all  # noqa: PLC0415

        read_calibrations(settings)
        check_store(settings)
        install_all(settings)
        set_environment(ray_environment(settings, folder))

        from serving.deployments.launch import run  # noqa: PLC0415

        def listening() -> None:
            if key := first_key(settings):
                typer.echo(framed(f"http://{settings.server.host}:{settings.server.port}", key))

        run(settings, folder, listening)
    except CandorError as error:
        typer.secho(f"error: {error.detail}", fg="red", err=True)
        raise typer.Exit(2) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
