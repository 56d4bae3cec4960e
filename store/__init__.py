"""What Candor keeps: drafts and idempotency keys in a database, files at a folder or another place that fsspec knows."""

from store import tool_tables as tool_tables  # its tables join those of store.tables
from store.blobs import Blob, Blobs
from store.schema import migrate
from store.store import Store, StoredReply, open_store

__all__ = ["Blob", "Blobs", "Store", "StoredReply", "migrate", "open_store"]
