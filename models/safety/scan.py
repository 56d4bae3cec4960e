"""What a model file is, by its content, and whether it would run code: a look before any family reads it.

The families' own readers run nothing of a file anyway. This is the second opinion: `picklescan` lists what pickles name, wherever in a
file they lie, and what is hidden or ambiguous is refused.
"""

from __future__ import annotations

import io
import json
import pickletools
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

from picklescan.scanner import SafetyLevel, ScanResult, scan_pickle_bytes  # type: ignore[import-untyped]

from candor.errors import UnsafeArtifact
from models.safety.archives import ArchiveLimits, check_zip

Kind: TypeAlias = Literal["safetensors", "zip", "pickle", "tar", "numpy", "hdf5", "compressed", "other"]
EXPORT = "Export the model to ONNX where it was trained, or save its weights as .safetensors, and register that file"

# What each family of ours reads. A team's own family reads what it likes, in its own process.
_READS: Mapping[str, frozenset[Kind]] = {
    "onnx": frozenset({"other"}),
    "ultralytics": frozenset({"zip", "pickle"}),
    "timm": frozenset({"safetensors", "zip", "pickle"}),
    "whisper": frozenset({"safetensors", "zip", "pickle"}),
}
_SUFFIXES: Mapping[str, Kind] = {".safetensors": "safetensors", ".onnx": "other"}
_WORDS: Mapping[Kind, str] = {
    "safetensors": "a safetensors file",
    "zip": "a zip archive, as torch.save writes",
    "pickle": "a pickle",
    "tar": "a tar archive",
    "numpy": "a NumPy file, which may hold pickled objects",
    "hdf5": "an HDF5 file",
    "compressed": "a compressed file",
    "other": "no format that is known here",
}
# The restricted reader of Ultralytics' files puts inert values in the place of these.
_INERT = frozenset({"builtins getattr", "__builtin__ getattr"})
_MAGIC: Mapping[bytes, Kind] = {
    b"\x93NUMPY": "numpy",
    b"\x89HDF\r\n": "hdf5",
    b"\x1f\x8b": "compressed",
    b"BZh": "compressed",
    b"\xfd7zXZ": "compressed",
    b"7z\xbc\xaf\x27\x1c": "compressed",
    b"\x28\xb5\x2f\xfd": "compressed",
}
_HEADER = 100_000_000  # most bytes of a safetensors header, as its own library has it
_PICKLE = 64 * 2**20  # most bytes of a checkpoint's pickle: its weights lie beside it
_FIRST = 64  # bytes in which a pickle's first opcodes show
_NOTHING: Mapping[str, Any] = {"scanner": "", "globals": [], "dangerous": []}
_LISTED = 100  # names in the report
_OPCODES = 4  # that must parse for text to count as a pickle of protocol 0


def kind_of(path: Path) -> Kind:
    """Tell what a file is by its content."""
    with path.open("rb") as file:
        head = file.read(_FIRST)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    for begins, kind in _MAGIC.items():
        if head.startswith(begins):
            return kind
    if _is_safetensors(head, path.stat().st_size):
        return "safetensors"
    if tarfile.is_tarfile(path):
        return "tar"
    return "pickle" if _is_pickle(head) else "other"


def scan(path: Path, family: str, limits: ArchiveLimits) -> dict[str, Any]:
    """Look through a model file that `family` is to read; return what was found, for the report and for `refuse_dangerous`.

    Raises:
        UnsafeArtifact: it is no file of that family, is ambiguous, broken, or a bomb; the detail says what to do.
    """
    kind = kind_of(path)
    reads = _READS.get(family)
    if reads is not None and kind not in reads:
        wanted = " or ".join(sorted(_WORDS[one] for one in reads if one != "other")) or "an ONNX file"
        raise UnsafeArtifact(f"{path.name} is {_WORDS[kind]}, and the family {family} takes {wanted}. {EXPORT}")
    said = _SUFFIXES.get(path.suffix.lower())
    if said is not None and said != kind:
        raise UnsafeArtifact(f"{path.name} is named {path.suffix} and is {_WORDS[kind]}: name it what it is. {EXPORT}")
    if kind != "zip" and zipfile.is_zipfile(path):
        raise UnsafeArtifact(f"{path.name} is {_WORDS[kind]} with a zip archive at its end: readers differ in what they take. {EXPORT}")
    if kind == "safetensors":
        check_safetensors(path)
        return {"format": kind, **_NOTHING}
    if kind == "zip":
        names = check_zip(path, limits)
        if reads is not None:
            _check_checkpoint(path, names)
        return {"format": kind, **_told(_zip_findings(path, names), family)}
    if kind == "pickle":
        with path.open("rb") as file:
            found = _findings(file, path.name, whole=False)
        return {"format": kind, **_told([found], family)}
    return {"format": "onnx" if family == "onnx" else kind, **_NOTHING}


def check_safetensors(path: Path) -> None:
    """Check a safetensors file's header: its length, its JSON, and that it claims no more than the file has.

    Raises:
        UnsafeArtifact: it is broken, shortened, or absurd.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
        if not 2 <= length <= min(_HEADER, size - 8):
            raise UnsafeArtifact(f"{path.name} says that its header has {length:,} bytes and has {size:,} itself: save or send it again")
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            whole = max(ends, default=0) == size - 8 - length
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise UnsafeArtifact(f"{path.name} has no safetensors header that can be read: save or send it again") from error
    if not whole:
        raise UnsafeArtifact(f"{path.name} is shorter or longer than its header says: save or send it again")


def _check_checkpoint(path: Path, names: Sequence[str]) -> None:
    """Refuse a zip that is not one checkpoint as torch.save writes it: a folder with `data.pkl`, and no program."""
    if len([name for name in names if name.rpartition("/")[2] == "data.pkl"]) != 1:
        raise UnsafeArtifact(f"{path.name} is no checkpoint as torch.save writes it, with one `data.pkl`. {EXPORT}")
    if any(name.rpartition("/")[2] == "constants.pkl" or "/code/" in name for name in names):
        raise UnsafeArtifact(f"{path.name} is a TorchScript program, which is code. {EXPORT}")


def _zip_findings(path: Path, names: Sequence[str]) -> list[ScanResult]:
    """Scan every member that may be a pickle; of the raw tensors in a checkpoint none is."""
    found = []
    with zipfile.ZipFile(path) as archive:
        for name in names:
            if "/data/" in name or name.endswith("/"):
                continue
            if archive.getinfo(name).file_size > _PICKLE:
                raise UnsafeArtifact(f"{path.name}:{name} has more than {_PICKLE:,} bytes beside the weights. {EXPORT}")
            try:
                data = archive.read(name)
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
                raise UnsafeArtifact(f"{path.name}:{name} can't be read ({error}): save or send it again") from error
            if name.endswith(".pkl") or _is_pickle(data[:_FIRST]):
                found.append(_findings(io.BytesIO(data), f"{path.name}:{name}", whole=True))
    return found


def _findings(file: IO[bytes], name: str, *, whole: bool) -> ScanResult:
    """Scan a stream of pickles; a legacy checkpoint has raw tensors behind them, where a pickle on its own must parse to its end."""
    try:
        found: ScanResult = scan_pickle_bytes(file, name)
    except (ValueError, OSError, LookupError, TypeError, RecursionError) as error:  # opcodes that no writer makes
        raise UnsafeArtifact(f"{name} is no pickle that any library writes ({error}). {EXPORT}") from error
    if found.scan_err and whole:
        raise UnsafeArtifact(f"{name} can't be scanned: it is broken or shortened. Save or send it again")
    return found


def _told(results: Iterable[ScanResult], family: str) -> dict[str, Any]:
    named = [one for result in results for one in result.globals]
    inert = _INERT if family == "ultralytics" else frozenset()
    dangerous = {f"{one.module} {one.name}" for one in named if one.safety == SafetyLevel.Dangerous} - inert
    words = sorted({f"{one.module} {one.name}"[:200] for one in named})
    return {"scanner": "picklescan", "globals": words[:_LISTED], "dangerous": [one[:200] for one in sorted(dangerous)][:_LISTED]}


def refuse_dangerous(path: Path, found: Mapping[str, Any]) -> None:
    """Refuse a file in which the scanner found what would run.

    Raises:
        UnsafeArtifact: so it is; the detail names it and says what to do.
    """
    if found["dangerous"]:
        called = ", ".join(one.replace(" ", ".")[:80] for one in found["dangerous"][:5])
        raise UnsafeArtifact(f"{path.name} is refused: loading it would run {called}. {EXPORT}")


def _is_safetensors(head: bytes, size: int) -> bool:
    """Whether it begins as one: a length, and the brace of its header."""
    return len(head) > 9 and head[8:9] == b"{" and (struct.unpack("<Q", head[:8])[0] < size or head[9:10] == b'"')


def _is_pickle(head: bytes) -> bool:
    """Whether the bytes begin like a pickle: by the mark of protocols 2 and later, or by opcodes that parse and do something."""
    if len(head) >= 2 and head[0] == 0x80 and head[1] <= 5:
        return True
    seen = []
    try:
        for opcode, _, _ in pickletools.genops(head):
            seen.append(opcode.name)
    except (ValueError, IndexError, struct.error, UnicodeDecodeError, OverflowError):
        pass
    return bool({"GLOBAL", "INST", "REDUCE", "STOP"} & set(seen)) or (len(seen) >= _OPCODES and seen[0] in ("MARK", "EMPTY_DICT", "DICT"))
