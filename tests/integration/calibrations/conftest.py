"""The application of the unit tests, without Ray: what is drawn and fitted here takes seconds."""

from __future__ import annotations

from tests.unit.serving.conftest import folder, gate, loaded, server, settings, steady, template

__all__ = ["folder", "gate", "loaded", "server", "settings", "steady", "template"]
