from tests.unit.store.test_connections import *  # noqa: F403
