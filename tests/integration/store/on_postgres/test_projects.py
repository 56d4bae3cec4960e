from tests.unit.store.test_projects import *  # noqa: F403
