"""Webhooks: what is put down to be told, and who sends it."""
