"""A team's own package, installed as pip would leave it: a module and its entry point, in a folder of its own."""

from __future__ import annotations

from pathlib import Path

MOODY = '''
import os, threading, time
from candor.fake import FakeFamily, FakeModel
from candor.families import Adopted, PreparedItem
from candor.errors import UnreadableItem

print("hello from the team")

class Moody(FakeModel):
    """Does what its items tell it to."""

    def prepare(self, data, limits):
        if data == b"big":
            raise UnreadableItem("too much for me", retry_after=3)
        item = super().prepare(data, limits)
        if data.startswith(b"list"):
            return PreparedItem(iter(list(item.units)), item.context)
        return item

    def infer(self, units):
        orders = [o.get("mood") for _, o in units]
        if "die" in orders:
            os._exit(7)
        if "hang" in orders:
            time.sleep(60)
        if "garbage" in orders:
            import gc, socket
            [os.write(s.fileno(), b"\\xff" * 64) for s in gc.get_objects() if isinstance(s, socket.socket)]
        return super().infer(units)

    def finish(self, item, results):
        if item.context.get("mood") == "nonsense":
            return {"labels": ["cat"]}
        return super().finish(item, results)

class MoodyFamily(FakeFamily):
    name = "moody"

    def adopt(self, source, folder, options):
        if options.get("bug"):
            raise ZeroDivisionError("their bug")
        if options.get("never"):
            raise SystemExit(3)
        assert "hang_seconds" not in options
        return super().adopt(source, folder, options)

    def load(self, manifest, artifact, device):
        super().load(manifest, artifact, device)
        print("loaded in", os.getpid())
        return Moody(manifest)
'''


def install(folder: Path, name: str, module: str, target: str) -> None:
    """Write a package `name` with one module, whose entry point of group `candor.families` is `target`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}_family.py").write_text(module, encoding="utf-8")
    info = folder / f"{name}_family-1.0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-family\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[candor.families]\n{name} = {name}_family:{target}\n", encoding="utf-8")
