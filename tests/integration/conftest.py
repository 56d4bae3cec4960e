"""Fixtures for all integration tests."""

from tests.postgres import postgres_empty_url, postgres_server, postgres_template, postgres_url

__all__ = ["postgres_empty_url", "postgres_server", "postgres_template", "postgres_url"]
