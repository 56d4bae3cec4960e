from tests.unit.store.test_project_drafts import *  # noqa: F403
