from tests.unit.store.test_writer import *  # noqa: F403
