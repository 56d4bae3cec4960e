from tests.unit.store.test_gold_and_reviews import *  # noqa: F403
