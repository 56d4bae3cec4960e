from tests.unit.store.test_label_studio_tasks import *  # noqa: F403
