"""What one task's engine asks before it loads a version: where its files are, and how large its batches may be."""

from __future__ import annotations

from candor.errors import ModelUnavailable
from candor.predictions import Task
from models.catalog import Catalog, Installed
from serving.config import EngineSettings
from serving.registry.book import RegistryBook
from serving.registry.installing import Installer


class Loader:
    """Finds versions of the configuration on this disk, and brings registered ones there."""

    def __init__(self, catalog: Catalog, book: RegistryBook, installer: Installer, task: Task, how: EngineSettings) -> None:
        self._catalog = catalog
        self._book = book
        self._installer = installer
        self.task = task
        self.how = how

    async def bring(self, version: str) -> int | None:
        """See to it that the version's files are here; return the largest batch that its validation found good, if it did.

        Raises:
            ModelUnavailable: it needs more memory than this engine may use.
            UnsafeArtifact, StorageUnavailable: its files can't be brought.
        """
        content = self._book.content(version)
        if content is None:  # of the configuration: installed at the start
            return None
        needed = content.report.get("memory_bytes") or 0
        if needed > self.how.cache_bytes:
            raise ModelUnavailable(
                f"{version} needs {needed:,} bytes of memory, and engine.cache_bytes allows {self.how.cache_bytes:,}: "
                "the operator can raise it"
            )
        await self._installer.bring(content.manifest, content.bytes)
        return content.report.get("max_batch")

    def installed(self, version: str) -> Installed:
        """Return a version that is on this disk.

        Raises:
            UnknownModel: it is not, or no more.
        """
        content = self._book.content(version)
        if content is None:
            return self._catalog.resolve(version, self.task)
        return Installed(content.manifest, self._installer.folder(content.manifest))
