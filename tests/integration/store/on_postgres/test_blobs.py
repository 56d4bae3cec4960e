from tests.unit.store.test_blobs import *  # noqa: F403
