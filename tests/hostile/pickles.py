"""Pickles that would run something, had anybody unpickled them. All that they would do is to make a file: `marker`.

They are written opcode by opcode, so that each says exactly what it is to say, in whatever protocol.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

Payload = Callable[[str], bytes]  # path of the marker -> a pickle


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def short(value: str) -> bytes:
    data = value.encode()
    return b"\x8c" + bytes([len(data)]) + data


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def called(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


def whole(body: bytes, protocol: int = 2) -> bytes:
    return (b"" if protocol < 2 else b"\x80" + bytes([protocol])) + body + b"."


def call(module: str, name: str, command: Callable[[str], str], protocol: int = 2) -> Payload:
    return lambda marker: whole(called(named(module, name), text(command(marker))), protocol)


def touch(marker: str) -> str:
    return f"touch {marker}"


def opened(marker: str) -> str:
    return f"open({marker!r}, 'w').close()"


def _protocol_0(marker: str) -> bytes:
    return f"cos\nsystem\n(Vtouch {marker}\ntR.".encode()


def _protocol_4(marker: str) -> bytes:
    return whole(short("os") + short("system") + b"\x93" + text(touch(marker)) + b"\x85R", 4)


def _protocol_5(marker: str) -> bytes:
    frame = short("posix") + short("system") + b"\x93" + text(touch(marker)) + b"\x85R."
    return b"\x80\x05\x95" + struct.pack("<Q", len(frame)) + frame


def _from_memo(marker: str) -> bytes:
    """The name's parts come from the memo, with others put in between to mislead who reads backwards."""
    memo = short("system") + b"\x94" + b"0" + short("os") + b"\x94" + b"0" + short("collections") + b"0"
    return whole(memo + b"h\x01" + b"h\x00" + b"\x93" + text(touch(marker)) + b"\x85R", 4)


def _built_name(marker: str) -> bytes:
    """The module's name is put together while unpickling: no reader sees it."""
    joined = short("builtins") + short("str.join") + b"\x93" + b"(" + text("") + b"(" + text("o") + text("s") + b"ltR"
    return whole(joined + short("system") + b"\x93" + text(touch(marker)) + b"\x85R", 4)


def _dotted(module: str, name: str) -> Payload:
    """A module that is allowed, and a way from it to one that is not."""
    return lambda marker: whole(short(module) + short(name) + b"\x93" + text(touch(marker)) + b"\x85R", 4)


def _inst(marker: str) -> bytes:
    return f"(S'touch {marker}'\nios\nsystem\n.".encode()


def _object(marker: str) -> bytes:
    return b"(" + named("subprocess", "Popen") + b"(" + text("touch") + text(marker) + b"lo."


def _popen(marker: str) -> bytes:
    return whole(called(named("subprocess", "Popen"), b"(" + text("touch") + text(marker) + b"l"))


def _imported(marker: str) -> bytes:
    module = called(named("builtins", "__import__"), text("os"))
    return whole(called(called(named("builtins", "getattr"), module, text("system")), text(touch(marker))))


def _partial(marker: str) -> bytes:
    return whole(called(called(named("functools", "partial"), named("os", "system"), text(touch(marker)))))


def _partial_state(marker: str) -> bytes:
    """A harmless partial whose state is replaced by `__setstate__`."""
    made = called(named("functools", "partial"), named("builtins", "len"))
    state = b"(" + named("os", "system") + b"(" + text(touch(marker)) + b"t" + b"}" + b"}" + b"t"
    return whole(b"(" + b"(" + made + state + b"b" + b"t" + b"t0" + called(made + state + b"b"))


def _attrgetter(marker: str) -> bytes:
    getter = called(named("operator", "attrgetter"), text("system"))
    return whole(called(called(getter, called(named("importlib", "import_module"), text("os"))), text(touch(marker))))


def _methodcaller(marker: str) -> bytes:
    return whole(called(called(named("operator", "methodcaller"), text("touch")), called(named("pathlib", "PosixPath"), text(marker))))


def _nested(marker: str) -> bytes:
    """A pickle in a pickle."""
    inner = _protocol_0(marker)
    return whole(called(named("pickle", "loads"), b"C" + bytes([len(inner)]) + inner), 3)


def _second(marker: str) -> bytes:
    """Behind a pickle that is none of anybody's concern."""
    return pickle.dumps({"epoch": 1}) + _protocol_4(marker)


def _runstring(marker: str) -> bytes:
    return whole(called(named("numpy.testing._private.utils", "runstring"), text(opened(marker)), b"}"))


def _socket(marker: str) -> bytes:
    """Would tell the test's own listener, whose port stands where the marker does."""
    address = b"(" + text("127.0.0.1") + f"I{marker}\n".encode() + b"t"
    return whole(called(named("socket", "create_connection"), address))


# Those that make the marker when they are unpickled here: the tests show so, to show that they could fail.
LIVE: Mapping[str, Payload] = {
    "os.system": call("os", "system", touch),
    "posix.system": call("posix", "system", touch),
    "protocol-0": _protocol_0,
    "protocol-1": lambda marker: whole(called(named("os", "system"), text(touch(marker))), 1),
    "protocol-3": call("os", "system", touch, 3),
    "protocol-4": _protocol_4,
    "protocol-5": _protocol_5,
    "eval": call("builtins", "eval", opened),
    "exec": call("builtins", "exec", opened),
    "python-2-eval": call("__builtin__", "eval", opened),
    "import": _imported,
    "popen": _popen,
    "getoutput": call("subprocess", "getoutput", touch),
    "partial": _partial,
    "partial-by-setstate": _partial_state,
    "attrgetter": _attrgetter,
    "methodcaller": _methodcaller,
    "inst": _inst,
    "obj": _object,
    "memo": _from_memo,
    "built-name": _built_name,
    "nested-pickle": _nested,
    "runstring": _runstring,
    "timeit": call("timeit", "timeit", opened),
    "profile": call("cProfile", "run", opened),
    "torch-collect-env": call("torch.utils.collect_env", "run", touch),
    "dotted-torch": _dotted("torch.serialization", "os.system"),
}
# Those that do something else, or only where a reader takes them in another way.
OTHERS: Mapping[str, Payload] = {
    "second-pickle": _second,
    "dotted-layer": _dotted("torch.nn.modules.module", "os.system"),
    "dotted-ultralytics": _dotted("ultralytics.utils", "os.system"),
    "torch-load": call("torch.serialization", "load", lambda marker: marker),
    "torch-hub": call("torch.hub", "load_state_dict_from_url", lambda marker: f"file://{marker}"),
    "jit": call("torch.jit._serialization", "load", lambda marker: marker),
    "numpy-load": call("numpy", "load", lambda marker: marker),
    "breakpoint": lambda marker: whole(called(named("builtins", "breakpoint"))),
}
SOCKET: Payload = _socket


# ---- what a pickle may lie in ----


def raw(path: Path, payload: bytes) -> Path:
    path.write_bytes(payload)
    return path


def torch_zip(path: Path, payload: bytes) -> Path:
    """As torch.save writes it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", payload)
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/version", "3\n")
    return path


def torch_legacy(path: Path, payload: bytes) -> Path:
    """As torch.save wrote it before: a magic number, a protocol, a machine, then the pickle."""
    head = [
        0x1950A86A20F9469CFC6C,
        1001,
        {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}},
    ]
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in head) + payload + pickle.dumps([], 2))
    return path


def nested_zip(path: Path, payload: bytes) -> Path:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("archive/data.pkl", payload)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
        archive.writestr("archive/inner.pt", inner.getvalue())
    return path


def second_data(path: Path, payload: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
        archive.writestr("other/data.pkl", payload)
    return path


def beside_data(path: Path, payload: bytes) -> Path:
    """Under a name that no scanner of names looks at."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
        archive.writestr("archive/weights", payload)
    return path


def zip_behind(path: Path, payload: bytes) -> Path:
    """A pickle to who reads from the front, a harmless zip to who reads from the back."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}, 2))
    path.write_bytes(payload + out.getvalue())
    return path


def numpy_objects(path: Path, payload: bytes) -> Path:
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (1,)})
        file.write(payload)
    return path


CONTAINERS: Mapping[str, Callable[[Path, bytes], Path]] = {
    "raw": raw,
    "zip": torch_zip,
    "legacy": torch_legacy,
    "nested-zip": nested_zip,
    "second-data": second_data,
    "beside-data": beside_data,
    "zip-behind": zip_behind,
    "npy": numpy_objects,
}
