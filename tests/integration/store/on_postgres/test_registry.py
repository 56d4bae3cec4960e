from tests.unit.store.test_registry import *  # noqa: F403
