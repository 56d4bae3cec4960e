"""A CVAT server with the few addresses that `cvat-cli` and `cvat-sdk` use: one project-less task, native functions, their queue."""

from __future__ import annotations

import io
import json
import re
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

USER = {"id": 1, "username": "u", "first_name": "", "last_name": "", "url": "http://127.0.0.1/api/users/1"}
WHEN = "2026-01-01T00:00:00Z"


@dataclass
class FakeCvat:
    """What the server holds, and what it was asked. `frames` are encoded pictures of one size."""

    frames: Sequence[bytes]
    labels: Sequence[Mapping[str, Any]]
    size: tuple[int, int] = (64, 48)
    chunk: int = 8
    deleted: Sequence[int] = ()
    annotations: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {"tags": [], "shapes": [], "tracks": []})
    functions: dict[int, dict[str, Any]] = field(default_factory=dict)
    queue: list[dict[str, Any]] = field(default_factory=list)
    ended: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    at: list[float] = field(default_factory=list)  # when
    updated: str = WHEN

    def get(self, path: str, query: Mapping[str, list[str]]) -> Any:
        """Answer a GET: JSON, or bytes; None where there is nothing."""
        if found := re.fullmatch(r"/api/functions/(\d+)", path):
            return self.functions[int(found[1])]
        answers: dict[str, Callable[[], Any]] = {
            "/api/server/about": lambda: {"name": "CVAT", "description": "", "version": "2.80.0", "logo_url": "", "subtitle": ""},
            "/api/tasks/7": self._task,
            "/api/labels": lambda: {"count": 1, "next": None, "previous": None, "results": [self._label(one) for one in self.labels]},
            "/api/tasks/7/data/meta": self._meta,
            "/api/tasks/7/data/": lambda: self._data(query["type"][0], int(query["number"][0])),
            "/api/tasks/7/annotations/": lambda: {"version": 0, **self.annotations},
        }
        return answers[path]() if path in answers else None

    def change(self, method: str, path: str, body: Any) -> Any:
        """Answer a PUT or PATCH: annotations replace those that there are, or join them."""
        if not path.startswith("/api/tasks/7/annotations"):
            return None
        kept = {kind: [{"id": 1, **one} for one in body.get(kind) or []] for kind in ("tags", "shapes", "tracks")}
        before = self.annotations if method == "PATCH" else {kind: [] for kind in kept}
        self.annotations = {kind: [*before[kind], *some] for kind, some in kept.items()}
        return {"version": 0, **self.annotations}

    def post(self, path: str, body: Any) -> Any:
        """Answer a POST."""
        if path == "/api/functions":
            number = len(self.functions) + 1
            labels = [{"type": "any", **label} for label in body["labels_v2"]]
            self.functions[number] = {**body, "labels_v2": labels, "id": number}
            return self.functions[number]
        if path.endswith("/requests/acquire"):
            fitting = [one for one in self.queue if one["category"] == body["request_category"]]
            for one in fitting[:1]:
                self.queue.remove(one)
            return {"ar_assignment": fitting[0]["ar"] if fitting else None}
        if found := re.fullmatch(r".*/requests/([^/]+)/(update|complete|fail)", path):
            if found[2] != "update":
                self.ended[found[1]] = {"how": found[2], **body}
            return {}
        return None

    def work_seconds(self) -> float:
        """Return how long the newest work on the task took, from the look at its frames to the write, and forget it."""
        first = next(n for n, one in enumerate(self.asked) if "/data/meta" in one)
        last = max(n for n, one in enumerate(self.asked) if one.startswith(("PUT", "PATCH")))
        seconds = self.at[last] - self.at[first]
        self.asked, self.at = [], []
        return seconds

    def ask_for(self, name: str, kind: str, **more: Any) -> None:
        """Put a request for the function into the queue, as a person does in CVAT."""
        mapping = {label["name"]: {"name": label["name"], "attributes": {}} for label in self.labels}
        params = {"type": kind, "task": 7, "mapping": mapping, "threshold": None, "conv_mask_to_poly": False, **more}
        category = "interactive" if kind == "annotate_frame" else "batch"
        self.queue.append({"category": category, "ar": {"ar_id": name, "ar_params": params}})

    def _task(self) -> dict[str, Any]:
        first = {"data_original_chunk_type": "imageset", "data_compressed_chunk_type": "imageset", "data_chunk_size": self.chunk}
        return {
            "id": 7,
            "name": "frames",
            "url": "http://127.0.0.1/api/tasks/7",
            "size": len(self.frames),
            "mode": "annotation",
            "dimension": "2d",
            "status": "annotation",
            "project_id": None,
            "organization": None,
            "owner": USER,
            "assignee": None,
            "bug_tracker": "",
            "created_date": WHEN,
            "updated_date": self.updated,
            "overlap": 0,
            "segment_size": len(self.frames),
            "subset": "",
            "image_quality": 70,
            "data": 1,
            "jobs": {"count": 1, "completed": 0, "validation": 0, "url": "http://127.0.0.1/api/jobs"},
            "labels": {"url": "http://127.0.0.1/api/labels?task_id=7"},
            "source_storage": None,
            "target_storage": None,
            **first,
        }

    def _label(self, label: Mapping[str, Any]) -> dict[str, Any]:
        rest = {"color": "#ff0000", "attributes": [], "type": "any", "sublabels": [], "task_id": 7, "parent_id": None, "has_parent": False}
        return {**rest, **label}

    def _meta(self) -> dict[str, Any]:
        width, height = self.size
        frames = [
            {"width": width, "height": height, "name": f"{number:03d}.png", "related_files": 0, "has_related_context": False}
            for number in range(len(self.frames))
        ]
        return {
            "chunk_size": self.chunk,
            "size": len(self.frames),
            "image_quality": 70,
            "start_frame": 0,
            "stop_frame": len(self.frames) - 1,
            "frame_filter": "",
            "frames": frames,
            "deleted_frames": list(self.deleted),
            "included_frames": None,
            "storage": "local",
            "storage_method": "cache",
            "cloud_storage_id": None,
            "chunks_updated_date": WHEN,
        }

    def _data(self, kind: str, number: int) -> bytes:
        if kind == "frame":
            return self.frames[number]
        chunk = io.BytesIO()
        with zipfile.ZipFile(chunk, "w", zipfile.ZIP_STORED) as archive:
            for place, frame in enumerate(self.frames[number * self.chunk : (number + 1) * self.chunk]):
                archive.writestr(f"{place:06d}.png", frame)
        return chunk.getvalue()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cvat: FakeCvat

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        self._answer(lambda _: self.cvat.get(asked.path, parse_qs(asked.query)))

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        self._answer(lambda body: self.cvat.post(path, body), 201 if path == "/api/functions" else 200)

    def do_PUT(self) -> None:
        self._answer(lambda body: self.cvat.change(self.command, urlsplit(self.path).path, body))

    do_PATCH = do_PUT  # noqa: N815

    def _answer(self, make: Callable[[Any], Any], status: int = 200) -> None:
        self.cvat.asked.append(f"{self.command} {self.path}")
        self.cvat.at.append(time.perf_counter())
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = make(json.loads(sent) if sent else None)
        data = answer if isinstance(answer, bytes) else json.dumps(answer if answer is not None else {"detail": "not here"}).encode()
        self.send_response(404 if answer is None else status)
        self.send_header("Content-Type", "application/octet-stream" if isinstance(answer, bytes) else "application/vnd.cvat+json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


@contextmanager
def serving(cvat: FakeCvat) -> Iterator[str]:
    """Serve on a port of the loopback; yield the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"cvat": cvat}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
