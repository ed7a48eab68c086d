"""Headless Chromium through ChromeDriver, with the standard library alone."""

import base64
import json
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
DRIVER = shutil.which("chromedriver")
MISSING = "needs Chromium and ChromeDriver (Debian: chromium, chromium-driver)"

_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars"),
)
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """One window. Use as a context manager."""

    def __enter__(self) -> Self:
        assert CHROMIUM is not None
        assert DRIVER is not None
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self._process.stdout is not None
        port = next(
            found[1]
            for line in self._process.stdout
            if (found := re.search(r"started successfully on port (\d+)", line))
        )
        self._url = f"http://127.0.0.1:{port}/session"
        options = {
            "binary": CHROMIUM,
            "args": [*_FLAGS, f"--user-data-dir={self._folder.name}", "about:blank"],
        }
        capabilities = {
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        session = self._send("POST", "", {"capabilities": {"alwaysMatch": capabilities}})
        self._url += f"/{session['sessionId']}"
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self._send("DELETE", "")
        finally:
            self._process.terminate()
            self._process.wait(timeout=30)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._folder.cleanup()

    def open(self, file: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Opens a file in a window of some size, in light or dark colours."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.devtools("Emulation.setEmulatedMedia", {"features": [scheme]})
        self._send("POST", "/url", {"url": file.as_uri()})

    def run(self, script: str, *arguments: object) -> Any:
        """Runs a function's body in the page; returns what it returns."""
        return self._send("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def click(self, selector: str) -> None:
        """Clicks on an element."""
        self._send("POST", f"/element/{self._element(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Types into an element; the keys of WebDriver's private code points work, too."""
        self._send("POST", f"/element/{self._element(selector)}/value", {"text": text})

    def move_to(self, selector: str, dx: int, dy: int) -> None:
        """Moves the pointer to a place relative to the middle of an element."""
        origin = {_ELEMENT: self._element(selector)}
        move = {"type": "pointerMove", "origin": origin, "x": dx, "y": dy, "duration": 0}
        source = {"type": "pointer", "id": "mouse", "actions": [move]}
        self._send("POST", "/actions", {"actions": [source]})

    def screenshot(self) -> bytes:
        """Returns the window as PNG."""
        return base64.b64decode(self._send("GET", "/screenshot"))

    def console(self) -> list[str]:
        """Returns what was written to the console since the last call."""
        return [entry["message"] for entry in self._log("browser")]

    def requests(self) -> list[str]:
        """Returns the addresses that pages asked for since the last call.

        Data URLs are none, and the browser's own start page is none of ours.
        """
        events = [json.loads(entry["message"])["message"] for entry in self._log("performance")]
        urls = [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in urls if not url.startswith(("data:", "chrome"))]

    def devtools(self, command: str, parameters: dict[str, Any]) -> Any:
        """Sends a command of the DevTools protocol."""
        return self._send("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def _log(self, kind: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self._send("POST", "/se/log", {"type": kind})
        return entries

    def _element(self, selector: str) -> str:
        found = self._send("POST", "/element", {"using": "css selector", "value": selector})
        return str(found[_ELEMENT])

    def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - always http to this machine
            self._url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as response:  # noqa: S310
                return json.load(response)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None


if __name__ == "__main__":  # CI asks: there its tests must not be skipped
    if CHROMIUM is None or DRIVER is None:
        sys.exit(f"error: the report and the site are tested in a browser; this {MISSING}")
