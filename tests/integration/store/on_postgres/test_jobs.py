from tests.unit.store.test_jobs import *  # noqa: F403
