from tests.unit.serving.conftest import folder, loaded, settings, template

__all__ = ["folder", "loaded", "settings", "template"]
