"""Exchanges of real tools with a server, as they were recorded."""

from pathlib import Path

HERE = Path(__file__).parent
