"""Builds candor-client from the checkout: the package candor_client, with `client` and what that needs of the kernel inside of it.

Inside, because `client` is a name that a user's own file may have, and because the server's distribution has both packages already.
"""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Iterable
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parents[2]
_IMPORT = re.compile(r"^(\s*(?:from|import)) (client|candor)(?=[. ])", re.MULTILINE)
_KERNEL = re.compile(r"^\s*from candor\.(\w+) import|^\s*from candor import (\w+)", re.MULTILINE)


class Gathered(build_py):
    """Copies the sources and lets them import each other where they are now."""

    def run(self) -> None:
        """Gather the packages."""
        target = Path(self.build_lib) / "candor_client"
        shutil.rmtree(target, ignore_errors=True)
        own, client = _modules(ROOT / "candor_client"), _modules(ROOT / "client")
        _copy(own, ROOT, target.parent)
        _copy(client, ROOT, target)
        kernel = _kernel_of(own + client)
        if kernel:
            _copy([ROOT / "candor" / "__init__.py", *kernel], ROOT, target)
        (target / "py.typed").touch()


def _modules(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def _kernel_of(modules: Iterable[Path]) -> list[Path]:
    """Return the modules of the kernel that these import, and those that they import in turn."""
    found: dict[Path, None] = {}
    waiting = list(modules)
    while waiting:
        for names in _KERNEL.findall(waiting.pop().read_text()):
            module = ROOT / "candor" / f"{''.join(names)}.py"
            if module not in found:
                found[module] = None
                waiting.append(module)
    return list(found)


def _copy(modules: Iterable[Path], root: Path, target: Path) -> None:
    for module in modules:
        to = target / module.relative_to(root)
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(_IMPORT.sub(r"\1 candor_client.\2", module.read_text()))


setup(
    packages=["candor_client"],
    package_dir={"candor_client": "../../candor_client"},
    version=tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"],
    long_description=(ROOT / "docs" / "client.md").read_text(),
    long_description_content_type="text/markdown",
    cmdclass={"build_py": Gathered},
)
