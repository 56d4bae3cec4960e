from tests.unit.store.test_draws import *  # noqa: F403
