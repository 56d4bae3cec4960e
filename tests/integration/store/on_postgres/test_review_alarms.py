from tests.unit.store.test_review_alarms import *  # noqa: F403
