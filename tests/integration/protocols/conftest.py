"""The whole server in one process over fake models, asked in other tools' protocols."""

from __future__ import annotations

from tests.unit.serving.conftest import folder, gate, loaded, server, settings, steady, template

__all__ = ["folder", "gate", "loaded", "server", "settings", "steady", "template"]
