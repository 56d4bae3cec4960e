"""A headless Chromium in which a test is the annotator. Playwright lives in Label Studio's environment, and so in a process of its own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.tools.label_studio import USER, LabelStudioSite, chromium, tool_python

_DRIVER = Path(__file__).with_name("browser_driver.py")


class Browser:
    """One page. Each step waits until what it is about is there, for half a minute at most."""

    def __init__(self) -> None:
        command = [str(tool_python()), str(_DRIVER), str(chromium())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __getattr__(self, step: str) -> Any:
        def take(*arguments: Any) -> Any:
            return self.step(step, *arguments)

        return take

    def step(self, step: str, *arguments: Any) -> Any:
        """Take a step of browser_driver.py and return what it finds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([step, *arguments]) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"error": "the browser has ended"}')
        assert "error" not in answer, answer["error"]
        return answer["found"]

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def sign_in(self, site: LabelStudioSite, user: str = USER, password: str | None = None) -> None:
        """Sign in to a Label Studio."""
        self.step("goto", f"{site.url}/user/login/")
        self.step("fill", "input[name=email]", user)
        self.step("fill", "input[name=password]", password or site.password)
        self.step("click", "button[type=submit]")
        self.step("until", "!location.pathname.startsWith('/user/login')")
