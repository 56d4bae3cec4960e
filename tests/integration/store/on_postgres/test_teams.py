from tests.unit.store.test_teams import *  # noqa: F403
