from tests.unit.store.test_webhooks import *  # noqa: F403
