"""What makes unit tests quick: they start without the heavy packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_unit_tier_starts_without_torch_and_ray() -> None:
    code = (
        "import sys, pytest\n"
        "status = pytest.main(['--collect-only', '-qq', '-p', 'no:cacheprovider', 'tests/unit'])\n"
        "found = {'torch', 'ray', 'ultralytics', 'whisper', 'timm', 'numba'} & set(sys.modules)\n"
        "sys.exit(f'imported: {sorted(found)}' if found else status)"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert answer.returncode == 0, answer.stdout[-2000:] + answer.stderr
