"""The process of a team's own family: `python -m candor.host FAMILY FD`. It imports the kernel and the family, and nothing of the server.

It answers requests on a socket that it was given (`candor.frames`). Items stay here, with their units and results: the server holds
their numbers. Threads prepare and finish while one thread infers, as in the server.
"""

from __future__ import annotations

import contextlib
import operator
import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from candor import __version__, frames
from candor.errors import CandorError
from candor.families import Device, Family, LoadedModel, MediaLimits, PreparedItem, get_family
from candor.frames import Header
from candor.manifest import Manifest

_THREADS = 64  # started when needed: as many as the server's, whose calls wait here
_END = object()


@dataclass(slots=True)
class _Item:
    """One item on its way, with its units and their results by number."""

    prepared: PreparedItem
    units: dict[int, Any] = field(default_factory=dict)
    results: dict[int, Any] = field(default_factory=dict)


class Host:
    """Serves one family on one socket until the other side goes."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        self._sock = sock
        self._name = name
        self._sending = threading.Lock()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="item")
        self._device = ThreadPoolExecutor(1, thread_name_prefix="infer")
        self._family: Family | None = None
        self._model: LoadedModel | None = None
        self._items: dict[int, _Item] = {}
        self._calls: Mapping[str, Callable[[Header, memoryview], tuple[Header, bytes]]] = {
            "adopt": self._adopt,
            "load": self._load,
            "warmup": self._warmup,
            "prepare": self._prepare,
            "next": self._next,
            "infer": self._infer,
            "finish": self._finish,
        }

    def serve(self) -> None:
        """Say who is here, then answer until the server goes."""
        try:
            self._family = get_family(self._name)
            hello: Header = {"family": self._name, "tasks": sorted(self._family.tasks)}
        except Exception as error:  # noqa: BLE001 - whatever their module raises
            traceback.print_exc()
            hello = {"error": frames.error_told(error)}
        frames.send(self._sock, {"kernel": __version__, "protocol": frames.PROTOCOL, **hello})
        while (frame := frames.receive(self._sock)) is not None:
            header, body = frame
            for number in header.get("release", ()):
                self._items.pop(number, None)
            if header["op"] == "close":
                break
            if header["op"] != "release":
                self._thread_for(header).submit(self._answer, header, body)
        if self._model is not None:
            self._model.close()

    def _thread_for(self, header: Header) -> ThreadPoolExecutor:
        alone = header["op"] in ("load", "warmup", "adopt") or (header["op"] == "infer" and not self._loaded.concurrent_infer)
        return self._device if alone else self._threads

    def _answer(self, header: Header, body: memoryview) -> None:
        try:
            told, data = self._calls[header["op"]](header, body)
        except CandorError as error:
            told, data = {"error": frames.error_told(error)}, b""
        except BaseException as error:  # noqa: BLE001 - SystemExit too: the server waits for an answer
            traceback.print_exc()
            told, data = {"error": frames.error_told(error)}, b""
        with self._sending, contextlib.suppress(OSError):  # the server has gone: the loop sees it too
            frames.send(self._sock, {"id": header["id"], **told}, data)

    @property
    def _loaded(self) -> LoadedModel:
        if self._model is None:
            raise RuntimeError("nothing is loaded")
        return self._model

    def _adopt(self, header: Header, _body: memoryview) -> tuple[Header, bytes]:
        assert self._family is not None  # noqa: S101 - the server goes where the hello is an error
        found = self._family.adopt(header["source"], Path(header["folder"]), header["options"])
        return {
            "labels": list(found.labels),
            "input": dict(found.input),
            "output": dict(found.output),
            "display_threshold": found.display_threshold,
            "licence": found.licence,
        }, b""

    def _load(self, header: Header, _body: memoryview) -> tuple[Header, bytes]:
        assert self._family is not None  # noqa: S101
        device = Device(**header["device"])
        self._model = self._family.load(Manifest.from_json(header["manifest"]), Path(header["artifact"]), device)
        return {"concurrent_infer": bool(self._model.concurrent_infer), "memory": int(self._model.memory())}, b""

    def _warmup(self, _header: Header, _body: memoryview) -> tuple[Header, bytes]:
        self._loaded.warmup()
        return {"memory": int(self._loaded.memory())}, b""

    def _prepare(self, header: Header, body: memoryview) -> tuple[Header, bytes]:
        item = _Item(self._loaded.prepare(bytes(body), MediaLimits(**header["limits"])))
        told = self._made(item)  # before it is kept: an item that fails leaves nothing
        self._items[header["item"]] = item
        return told, b""

    def _next(self, header: Header, _body: memoryview) -> tuple[Header, bytes]:
        return self._made(self._items[header["item"]]), b""

    def _made(self, item: _Item) -> Header:
        """Make the item's next unit; `left` says whether there may be more, as a length hint."""
        unit = next(item.prepared.units, _END)
        if unit is _END:
            return {"unit": None}
        number = len(item.units)
        item.units[number] = unit
        return {"unit": number, "cost": float(self._loaded.cost(unit)), "left": operator.length_hint(item.prepared.units, 1)}

    def _infer(self, header: Header, _body: memoryview) -> tuple[Header, bytes]:
        items = [(self._items.get(item), number) for item, number in header["units"]]
        here = [(item, number) for item, number in items if item is not None and number in item.units]
        results = iter(self._run([item.units[number] for item, number in here]))
        told: list[Header | None] = []
        for item, number in items:
            if item is None or number not in item.units:  # its caller has gone meanwhile
                told.append({"code": "worker_lost", "detail": "the item was given up", "retry_after": None})
                continue
            result = next(results)
            item.results[number] = result
            told.append(frames.error_told(result) if isinstance(result, CandorError) else None)
        return {"errors": told}, b""

    def _run(self, units: list[Any]) -> list[Any]:
        results = self._loaded.infer(units) if units else []
        if len(results) != len(units):
            raise RuntimeError(f"infer was given {len(units)} units and answered {len(results)} results")
        return results

    def _finish(self, header: Header, _body: memoryview) -> tuple[Header, bytes]:
        item = self._items.pop(header["item"])
        return frames.packed(self._loaded.finish(item.prepared, [item.results[number] for number in header["units"]]))


def main(arguments: list[str]) -> None:
    """Serve the family that the arguments name, on the socket of the file descriptor that they name."""
    name, descriptor = arguments
    os.set_inheritable(int(descriptor), False)  # what the family starts must not keep the socket open
    with socket.socket(fileno=int(descriptor)) as sock:
        Host(sock, name).serve()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a thread of theirs that hangs must not keep the process


if __name__ == "__main__":
    main(sys.argv[1:])
