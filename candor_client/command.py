"""The command `candor` of the light distribution, which may be installed without what a command line needs."""

from __future__ import annotations

_NEEDED = frozenset({"typer", "rich", "yaml"})


def main() -> None:
    """Run the command line.

    Raises:
        SystemExit: its packages are not installed; else with its exit code.
    """
    try:
        from client.cli import main as run  # noqa: PLC0415 - only here is it told what is missing
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        raise SystemExit("the command line needs more packages: pip install 'candor-client[cli]'") from error
    run()
