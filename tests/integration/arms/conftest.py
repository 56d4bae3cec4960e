from tests.unit.serving.conftest import folder, gate, loaded, server, settings, steady, template

__all__ = ["folder", "gate", "loaded", "server", "settings", "steady", "template"]
