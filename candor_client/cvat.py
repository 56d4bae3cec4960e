"""The function for `cvat-cli`, under a name that stays: `--function-module candor_client.cvat`."""

from client.cvat.function import create

__all__ = ["create"]
