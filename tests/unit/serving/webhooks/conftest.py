from tests.unit.store.conftest import migrated, store, url

__all__ = ["migrated", "store", "url"]
