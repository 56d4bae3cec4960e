from tests.unit.store.test_outcomes import *  # noqa: F403
