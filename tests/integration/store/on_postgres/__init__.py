"""The store's unit tests once more, on PostgreSQL. One file for each of tests/unit/store; what is SQLite's own is taken out by name."""
