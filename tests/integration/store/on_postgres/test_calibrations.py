from tests.unit.store.test_calibrations import *  # noqa: F403
