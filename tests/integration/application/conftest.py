"""The whole server in one process over fake models, as in tests/unit/serving: here is what takes longer there than all the rest."""

from __future__ import annotations

from tests.unit.serving.conftest import folder, gate, loaded, server, settings, steady, template

__all__ = ["folder", "gate", "loaded", "server", "settings", "steady", "template"]
