from tests.unit.store.test_store import *  # noqa: F403
