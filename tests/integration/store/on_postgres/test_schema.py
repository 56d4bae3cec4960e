from tests.unit.store.test_schema import *  # noqa: F403
