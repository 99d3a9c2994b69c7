"""A real Chromium, headless, spoken to over its debugging pipe; no driver and no network needed."""

import base64
import json
import os
import select
import shutil
import subprocess
import time

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --remote-debugging-pipe"
).split()


class Chromium:
    """One page.  `events` holds everything that the browser reported; use as a context manager."""

    def __init__(self, profile, timeout_s=60.0):
        binary = shutil.which("chromium")
        assert binary, "these tests need Chromium: apt-get install chromium"
        self.timeout_s, self.events, self._number, self._rest = timeout_s, [], 0, b""
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # Chromium reads commands from descriptor 3 and answers on 4.
        line = f'exec "$0" "$@" 3<&{theirs_in} 4>&{theirs_out}'
        command = ["bash", "-c", line, binary, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        null = subprocess.DEVNULL
        self._process = subprocess.Popen(command, pass_fds=(theirs_in, theirs_out), stdin=null, stdout=null, stderr=null)
        os.close(theirs_in)
        os.close(theirs_out)
        self._session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(20)
        os.close(self._in)
        os.close(self._out)

    def call(self, method, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        answer = self._until(lambda m: m.get("id") == self._number)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def open(self, url, width, height=900, scheme="light"):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=url)
        self._until(lambda m: m.get("method") == "Page.loadEventFired")

    def run(self, script):
        """The value of a JavaScript expression; promises are awaited."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def picture(self, path):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def pdf(self):
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"])

    def errors(self):
        """Exceptions and errors (refusals by the security policy among them) since the start."""
        found = [e for e in self.events if e["method"] == "Runtime.exceptionThrown"]
        return found + [e for e in self.events if e["method"] == "Log.entryAdded" and e["params"]["entry"]["level"] == "error"]

    def requests(self):
        return [e["params"]["request"]["url"] for e in self.events if e["method"] == "Network.requestWillBeSent"]

    def _until(self, wanted):
        end = time.monotonic() + self.timeout_s
        while True:
            while b"\0" in self._rest:
                raw, _, self._rest = self._rest.partition(b"\0")
                message = json.loads(raw)
                if "method" in message:
                    self.events.append(message)
                if wanted(message):
                    return message
            assert time.monotonic() < end, f"Chromium did not answer within {self.timeout_s:.0f} s"
            if select.select([self._in], [], [], 1.0)[0]:
                data = os.read(self._in, 1 << 20)
                assert data, "Chromium ended"
                self._rest += data
