"""The models that this server knows, by name: where each comes from, and the versions of it that are installed here.

On disk, under `home`: `<name>/<first 16 hex of the version>/` is one immutable version, its manifest and files;
`<name>/source.json` says which version each source, with its options, was installed as.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from candor.errors import InvalidRequest, ModelUnavailable, UnknownAlias, UnknownModel, UnsafeArtifact, WrongTask
from candor.families import Adopted
from candor.manifest import Manifest, canonical_json
from candor.predictions import Task
from models import artifacts, builtin
from models.builtin.fetch import silent
from models.builtin.index import Progress
from models.isolated import family_for

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_LEAST_PREFIX = 8  # hex digits that name a version
_POINTER = "source.json"


@dataclass(frozen=True)
class ModelEntry:
    """One model of the configuration. `source` is `builtin:NAME`, `file:PATH` or `official:NAME`."""

    name: str
    task: Task
    family: str
    source: str
    options: Mapping[str, Any] = field(default_factory=dict)
    calibration: Path | None = None
    aliases: tuple[str, ...] = ("production",)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidRequest(f"a model's name is letters, digits and . _ + -, beginning with a letter or digit: {self.name!r}")
        kind, _, rest = self.source.partition(":")
        if kind not in ("builtin", "file", "official") or not rest:
            raise InvalidRequest(f"models.{self.name}.source is builtin:NAME, file:PATH or official:NAME, not {self.source!r}")

    @property
    def kind(self) -> str:
        """`builtin`, `file` or `official`."""
        return self.source.partition(":")[0]

    @property
    def origin(self) -> str:
        """The source without its kind: a name or a path."""
        return self.source.partition(":")[2]


@dataclass(frozen=True)
class Installed:
    """One version that is on this machine's disk."""

    manifest: Manifest
    folder: Path

    def verify(self) -> Path:
        """Return the folder after checking every file in it against the manifest, as is done before each load.

        Raises:
            UnsafeArtifact: a file is missing, or is another.
        """
        artifacts.verify(self.folder, self.manifest)
        return self.folder


@dataclass(frozen=True)
class _Record:
    """What one source was installed as. The file's own figures tell whether it changed since."""

    digest: str
    sizes: Mapping[str, int]
    file_stat: tuple[int, int] | None = None  # bytes, modified at (ns)
    file_sha256: str | None = None

    @property
    def folder(self) -> str:
        return _folder_name(self.digest)


class Catalog:
    """Installs the models of the configuration and finds their versions. Used from several threads and processes at once."""

    def __init__(self, entries: Sequence[ModelEntry], home: Path, cache: Path, find_links: Sequence[str] = ()) -> None:
        self.entries: Mapping[str, ModelEntry] = {entry.name: entry for entry in entries}
        self._home = home
        self._cache = cache
        self._find_links = find_links
        self._manifests: dict[Path, Manifest] = {}  # a version's folder never changes

    def entry(self, name: str) -> ModelEntry:
        """Return the configuration of a model.

        Raises:
            UnknownModel: there is none of that name; the detail lists the nearest and all.
        """
        if (found := self.entries.get(name)) is not None:
            return found
        near = difflib.get_close_matches(name, self.entries, n=3, cutoff=0.5)
        meant = f" Did you mean {' or '.join(near)}?" if near else ""
        raise UnknownModel(f"there is no model {name!r}.{meant} This server has: {', '.join(sorted(self.entries)) or 'none'}")

    def installed(self, name: str) -> Installed | None:
        """Return the version that the model's source and options stand for now, if it is installed. Reads no weights.

        Raises:
            UnknownModel: there is no such model.
        """
        entry = self.entry(name)
        record = self._record(entry)
        if record is None or _source_changed(entry, record):
            return None
        return self._at(entry, record)

    def install(self, name: str, progress: Progress = silent) -> Installed:
        """Install the model's version if it is not there yet. Safe to call again and from several processes.

        Raises:
            UnknownModel, InvalidRequest, WrongTask: the configuration is wrong.
            ModelUnavailable: its weights can't be had here; the detail says what to do.
            UnsafeArtifact: its weights are not what they should be.
            StorageUnavailable: the disk is full or can't be written.
        """
        if (found := self.installed(name)) is not None:
            return found
        entry = self.entry(name)
        parent = self._home / name
        with artifacts.disk_errors(parent):
            parent.mkdir(parents=True, exist_ok=True)
        with _locked(parent, entry, progress):
            if (found := self.installed(name)) is not None:  # another process was faster
                return found
            artifacts.clear_abandoned(parent)
            return self._refresh(entry, progress) or self._build(entry, progress)

    def resolve(self, reference: str, task: Task | None = None) -> Installed:
        """Return the version that `name`, `name@sha256:<hex>` (at least 8 digits) or `name@alias` stands for.

        Raises:
            UnknownModel, UnknownAlias: there is no such model, version or alias; the detail lists what there is.
            WrongTask: the model is for another task than `task`.
            ModelUnavailable: it is configured, but not installed.
        """
        name, at, selector = reference.partition("@")
        entry = self.entry(name)
        if task is not None and entry.task != task:
            fitting = [other.name for other in self.entries.values() if other.task == task]
            raise WrongTask(f"{name} is a model for {entry.task}, not {task}. For {task}: {', '.join(sorted(fitting)) or 'none'}")
        if selector.startswith("sha256:"):
            return self._version(entry, selector)
        if at and selector not in entry.aliases:
            raise UnknownAlias(
                f"{name} has no alias {selector!r}: it has {', '.join(entry.aliases) or 'none'}; a version is written {name}@sha256:<hex>"
            )
        record = self._record(entry)
        found = self._at(entry, record) if record else None
        if found is None:
            raise ModelUnavailable(f"{name} is not installed on this machine: a start of the server installs it")
        return found

    def versions(self, name: str) -> list[Installed]:
        """Return every version of a model that is on this disk, older sources' too.

        Raises:
            UnknownModel: there is no such model.
        """
        self.entry(name)
        found = []
        for path in sorted((self._home / name).glob(f"[0-9a-f]*/{artifacts.MANIFEST}")):
            manifest = self._manifest(path.parent)
            if manifest is not None:
                found.append(Installed(manifest, path.parent))
        return found

    def _version(self, entry: ModelEntry, selector: str) -> Installed:
        versions = self.versions(entry.name)
        digits = selector.removeprefix("sha256:").lower()
        fitting = [one for one in versions if one.manifest.digest.startswith(f"sha256:{digits}")]
        if len(digits) >= _LEAST_PREFIX and len(fitting) == 1:
            if fitting[0].manifest.task != entry.task:
                raise WrongTask(f"{fitting[0].manifest.version} is a model for {fitting[0].manifest.task}, not {entry.task}")
            return fitting[0]
        what = "at least 8 hex digits name a version" if len(digits) < _LEAST_PREFIX else "several fit" if fitting else "there is none"
        have = ", ".join(f"sha256:{_folder_name(one.manifest.digest)}" for one in versions) or "none"
        raise UnknownModel(f"no one version of {entry.name} is {selector!r} ({what}). Installed here: {have}")

    def _manifest(self, folder: Path) -> Manifest | None:
        if folder not in self._manifests:
            try:
                manifest = artifacts.read_manifest(folder)
            except UnsafeArtifact:
                return None
            if _folder_name(manifest.digest) != folder.name:  # edited by hand: not the version that its place says
                return None
            self._manifests[folder] = manifest
        return self._manifests[folder]

    def _at(self, entry: ModelEntry, record: _Record) -> Installed | None:
        """Return the recorded version if its folder looks whole: the manifest is right and the files have their sizes."""
        folder = self._home / entry.name / record.folder
        try:
            whole = all(artifacts.member(folder, name).stat().st_size == size for name, size in record.sizes.items())
        except (OSError, UnsafeArtifact):
            return None
        manifest = self._manifest(folder) if whole else None
        return Installed(manifest, folder) if manifest is not None and manifest.digest == record.digest else None

    def _record(self, entry: ModelEntry) -> _Record | None:
        value = self._pointer(entry).get(_key(entry), {})
        try:
            stat = value["file_stat"]
            return _Record(value["digest"], dict(value["sizes"]), (stat[0], stat[1]) if stat else None, value["file_sha256"])
        except (KeyError, TypeError, ValueError):  # not there, or not as `_remember` writes it
            return None

    def _pointer(self, entry: ModelEntry) -> dict[str, Any]:
        try:
            value = json.loads((self._home / entry.name / _POINTER).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def _remember(self, entry: ModelEntry, record: _Record) -> None:
        value = {
            "source": entry.source,
            "digest": record.digest,
            "sizes": dict(record.sizes),
            "file_stat": record.file_stat,
            "file_sha256": record.file_sha256,
        }
        text = json.dumps({**self._pointer(entry), _key(entry): value}, indent=1)
        artifacts.write_whole(self._home / entry.name / _POINTER, text + "\n")

    def _refresh(self, entry: ModelEntry, progress: Progress) -> Installed | None:
        """Keep the version of a source file that was only touched or copied: the same bytes under another time."""
        record = self._record(entry)
        if record is None or record.file_sha256 is None:
            return None
        progress(f"checking whether {entry.origin} changed", 0, 0)
        stat, digest = _read_source(entry)
        found = self._at(entry, record) if digest == record.file_sha256 else None
        if found is not None:
            self._remember(entry, _Record(record.digest, record.sizes, stat, digest))
        return found

    def _build(self, entry: ModelEntry, progress: Progress) -> Installed:
        stat, digest = _read_source(entry) if entry.kind == "file" else (None, None)
        with artifacts.building(self._home / entry.name) as folder:
            artifacts.need_space(folder, stat[0] if stat else 0)
            adopted, notes = self._adopt(entry, folder, progress)
            if stat is not None and _stat(entry) != stat:
                raise ModelUnavailable(f"{entry.origin} changed while it was read: install it again when it is complete")
            manifest = Manifest(
                name=entry.name,
                task=entry.task,
                family=entry.family,
                files=artifacts.hash_files(folder),
                labels=tuple(adopted.labels),
                input=adopted.input,
                output=adopted.output,
                display_threshold=adopted.display_threshold,
                licence=adopted.licence,
                notes=notes,
            )
            if not manifest.files:
                raise ModelUnavailable(f"the family {entry.family} took in {entry.source} without writing any file")
            with artifacts.disk_errors(folder):
                artifacts.write_manifest(folder, manifest)
            record = _Record(manifest.digest, artifacts.sizes(folder), stat, digest)
            place = self._home / entry.name / record.folder
            if not _intact(place, manifest):  # a version that is there already may be in use
                artifacts.publish(folder, place)
        self._manifests.pop(place, None)
        self._remember(entry, record)
        return Installed(manifest, place)

    def _adopt(self, entry: ModelEntry, folder: Path, progress: Progress) -> tuple[Adopted, str]:
        if entry.kind == "builtin":
            return self._adopt_builtin(entry, folder, progress)
        family = family_for(entry.family)
        if entry.task not in family.tasks:
            raise WrongTask(f"the family {entry.family} has no models for {entry.task}: only for {', '.join(sorted(family.tasks))}")
        progress(f"taking in {entry.origin}", 0, 0)
        # A whole path, so that no family takes a file for the official model of its name.
        source = str(Path(entry.origin).expanduser().absolute()) if entry.kind == "file" else entry.origin
        with artifacts.full_disk(folder):
            return family.adopt(source, folder, entry.options), f"from {entry.kind} {Path(entry.origin).name}"

    def _adopt_builtin(self, entry: ModelEntry, folder: Path, progress: Progress) -> tuple[Adopted, str]:
        recipe = builtin.get_recipe(entry.origin)
        if (entry.task, entry.family) != (recipe.task, recipe.family):
            raise WrongTask(
                f"the built-in model {recipe.name} is for task {recipe.task} and family {recipe.family}: models.{entry.name} says "
                f"{entry.task} and {entry.family}"
            )
        artifacts.need_space(folder, sum(member.size for member in recipe.archive.members))
        with artifacts.full_disk(folder):
            adopted = builtin.build(recipe, folder, self._cache, progress, self._find_links)
        return builtin.with_options(adopted, entry.options), recipe.notes


def _intact(folder: Path, manifest: Manifest) -> bool:
    try:
        artifacts.verify(folder, manifest)
        return artifacts.read_manifest(folder).digest == manifest.digest
    except UnsafeArtifact:
        return False


def _folder_name(digest: str) -> str:
    return digest.removeprefix("sha256:")[:16]


def _key(entry: ModelEntry) -> str:
    """Name everything that decides what an installation gives, except the bytes of a source file."""
    pins = builtin.pins(entry.origin) if entry.kind == "builtin" else []
    try:
        text = canonical_json([entry.task, entry.family, entry.source, dict(entry.options), pins])
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"models.{entry.name}.options holds what is not JSON: {error}") from error
    return hashlib.sha256(text).hexdigest()[:32]


def _stat(entry: ModelEntry) -> tuple[int, int] | None:
    path = Path(entry.origin).expanduser()
    if not path.is_file():
        return None
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _source_changed(entry: ModelEntry, record: _Record) -> bool:
    """Say whether the source file is another than was installed. One that is gone is not: its version is here, whole."""
    stat = _stat(entry) if entry.kind == "file" else None
    return stat is not None and stat != record.file_stat


def _read_source(entry: ModelEntry) -> tuple[tuple[int, int], str]:
    if (stat := _stat(entry)) is None:
        raise ModelUnavailable(f"models.{entry.name}.source names the file {entry.origin}, which is not there: give a path that is")
    try:
        return stat, artifacts.sha256(Path(entry.origin).expanduser())
    except OSError as error:
        raise ModelUnavailable(f"{entry.origin} can't be read: {error.strerror or error}") from error


@contextmanager
def _locked(parent: Path, entry: ModelEntry, progress: Progress) -> Iterator[None]:
    lock = FileLock(parent / ".lock")
    with artifacts.disk_errors(parent):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress(f"waiting for another process that installs {entry.name}", 0, 0)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()
