from tests.unit.store.test_label_studio_events import *  # noqa: F403
