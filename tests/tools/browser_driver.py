"""Drives Chromium for tests.tools.browser, in the environment that has Playwright: for each line of JSON, a step, one is answered."""

import json
import sys
from collections.abc import Callable
from typing import Any

from playwright.sync_api import sync_playwright  # type: ignore[import-not-found] # it is in Label Studio's environment

SECONDS = 30.0


def main(chromium: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
        page.set_default_timeout(SECONDS * 1000)
        for line in sys.stdin:
            step, *arguments = json.loads(line)
            try:
                found = {"found": STEPS[step](page, *arguments)}
            except Exception as error:  # noqa: BLE001 - the test is told
                found = {"error": f"{step} {arguments}: {error}"}
            sys.stdout.write(json.dumps(found) + "\n")
            sys.stdout.flush()
        browser.close()


STEPS: dict[str, Callable[..., Any]] = {
    "goto": lambda page, address: page.goto(address, wait_until="domcontentloaded") and None,
    "click": lambda page, what: page.locator(what).first.click(),
    "fill": lambda page, what, text: page.locator(what).first.fill(text),
    "press": lambda page, key: page.keyboard.press(key),
    "see": lambda page, what: page.locator(what).first.wait_for(state="visible"),
    "texts": lambda page, what: page.locator(what).all_inner_texts(),
    "evaluate": lambda page, script: page.evaluate(script),
    "until": lambda page, script: page.wait_for_function(script) and None,
    "size": lambda page, width, height: page.set_viewport_size({"width": width, "height": height}),
    "picture": lambda page, path: page.screenshot(path=path) and None,
}


if __name__ == "__main__":
    main(sys.argv[1])
