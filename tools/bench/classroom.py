"""A class on a JupyterHub: students log in, open a notebook and run it, all at the same time.

The hub runs on loopback with a password made for this run that all students share. That is for
this measurement only: no class should have such a hub.
"""

import contextlib
import json
import secrets
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import psutil
import requests
import websocket

from tools.lab import free_port
from tools.notebooks import ROOT

TEACHING = ROOT / ".venv-teaching" / "bin"
NOTEBOOK = ROOT / "notebooks" / "04_2_layer_normalization.ipynb"
MOST, NEEDS = 12, 1.2e9  # students at most, and bytes that one may need
CONFIG = """
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_port = {hub_port}
c.JupyterHub.db_url = "sqlite:///{folder}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{folder}/cookie_secret"
c.JupyterHub.authenticator_class = "dummy"  # one password for all: loopback and this run only
c.DummyAuthenticator.password = "{password}"
c.Authenticator.allow_all = True
c.JupyterHub.spawner_class = "simple"  # a process for each student, all of one user
c.SimpleLocalProcessSpawner.home_dir_template = "{folder}/home/{{username}}"
c.Spawner.cmd = ["{bin}/jupyterhub-singleuser"]
c.Spawner.args = ["--allow-root"]
c.Spawner.start_timeout = 300
c.Spawner.http_timeout = 300
c.JupyterHub.concurrent_spawn_limit = 0
c.ConfigurableHTTPProxy.command = ["{bin}/configurable-http-proxy"]
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{api_port}"
"""


@contextlib.contextmanager
def hub(folder):
    """A JupyterHub with its proxy; yields its address and the password."""
    port, hub_port, api_port = free_port(), free_port(), free_port()
    password = secrets.token_hex()
    config = CONFIG.format(
        folder=folder, bin=TEACHING, port=port, hub_port=hub_port, api_port=api_port,
        password=password,
    )  # fmt: skip
    (folder / "config.py").write_text(config)
    command = [TEACHING / "jupyterhub", "-f", folder / "config.py"]
    with (folder / "hub.log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: requests.get(f"{address}/hub/api").ok, "the hub to start", 120)
        yield address, password
    except Exception as error:
        error.add_note((folder / "hub.log").read_text()[-3000:])
        raise
    finally:
        family = [process, *psutil.Process(process.pid).children(recursive=True)]
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()


def wait_for(condition, what, seconds=300):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(requests.ConnectionError):
            if condition():
                return
        time.sleep(0.2)
    raise TimeoutError(f"waited {seconds} s for {what}")


class Student:
    """One student's browser: logs in, opens a notebook through the server's API, runs cells."""

    def __init__(self, address, name):
        self.address, self.name, self.web = address, name, requests.Session()
        self.server, self.socket = f"{address}/user/{name}", None

    def log_in(self, password):
        page = self.web.get(f"{self.address}/hub/login")
        form = {"username": self.name, "password": password, "_xsrf": self.token("/hub/")}
        page = self.web.post(f"{self.address}/hub/login", data=form)
        page.raise_for_status()
        wait_for(self.is_in, f"the server of {self.name}")

    def is_in(self):
        """Whether this student's own server has answered, and not the hub in its place."""
        return self.web.get(f"{self.server}/lab").url.startswith(self.server)

    def token(self, path):
        found = [c.value for c in self.web.cookies if c.name == "_xsrf" and c.path == path]
        return found[0]

    def api(self, method, path, **what):
        token = {"X-XSRFToken": self.token(f"/user/{self.name}/")}
        answer = self.web.request(method, f"{self.server}/api/{path}", headers=token, **what)
        answer.raise_for_status()
        return answer.json()

    def open(self, name):
        """The cells of a notebook, and a kernel for it: the one it has, or a new one."""
        content = self.api("GET", f"contents/{name}")["content"]
        session = {"path": name, "name": name, "type": "notebook", "kernel": {"name": "python3"}}
        self.kernel = self.api("POST", "sessions", json=session)["kernel"]["id"]
        cookies = "; ".join(f"{c.name}={c.value}" for c in self.web.cookies)
        channels = f"{self.server}/api/kernels/{self.kernel}/channels".replace("http", "ws", 1)
        self.socket = websocket.create_connection(channels, cookie=cookies, timeout=600)
        return [c["source"] for c in content["cells"] if c["cell_type"] == "code"]

    def send(self, code):
        """Start a cell; returns the request's id."""
        id = uuid.uuid4().hex
        header = {"msg_id": id, "msg_type": "execute_request", "session": self.name,
                  "username": self.name, "version": "5.3"}  # fmt: skip
        content = {"code": code, "silent": False, "allow_stdin": False, "stop_on_error": True}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        self.socket.send(json.dumps(message | {"channel": "shell"}))
        return id

    def run(self, code):
        """Run a cell to its end; returns the error's name, or None."""
        id = self.send(code)
        while True:
            text = self.socket.recv()
            if isinstance(text, bytes):
                continue  # data of widgets
            message = json.loads(text)
            mine = message["parent_header"].get("msg_id") == id
            if mine and message["msg_type"] == "execute_reply":
                return message["content"].get("ename")

    def processes(self):
        """This student's server and kernel."""
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("JUPYTERHUB_USER") == self.name:
                    yield process

    def leave(self):
        """Close the connections to the kernel and to the hub."""
        if self.socket is not None:
            self.socket.close()
        self.web.close()

    def memory(self):
        """Peak resident bytes, and bytes now with shared pages divided among their users."""
        peak = share = 0
        for process in self.processes():
            peak += process_peak(process.pid)
            share += process.memory_full_info().pss
        return peak, share


def process_peak(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def attend(student, password, name):
    """A whole lesson: seconds to log in, to the first cell's end, to the last's; and the error."""
    start = time.monotonic()
    student.log_in(password)
    times = [time.monotonic() - start]
    error = None
    cells = student.open(name)
    for cell in cells:
        error = error or student.run(cell)
        times.append(time.monotonic() - start)
    return times[0], times[1], times[-1], error


@contextlib.contextmanager
def classroom(count, notebook):
    """A hub with students who each have a copy of the notebook; yields them and the password."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        names = [f"student{i}" for i in range(count)]
        for name in names:
            (folder / "home" / name).mkdir(parents=True)
            shutil.copy(notebook, folder / "home" / name)
        with hub(folder) as (address, password):
            students = [Student(address, name) for name in names]
            try:
                yield students, password
            finally:
                for student in students:
                    student.leave()


def lose_a_kernel(students, name):
    """Kill the first student's kernel while a cell runs.

    Returns what is left: whether the notebook's file is as before, whether the kernel's state is
    gone, whether the notebook can be opened and run again, and whether the others' states are
    still there.
    """
    victim, *others = students
    file = victim.api("GET", f"contents/{name}")
    for student in students:
        student.run("mine = 1")
    victim.send("import time; time.sleep(600)")
    time.sleep(1)
    kernel = next(p for p in victim.processes() if "ipykernel_launcher" in " ".join(p.cmdline()))
    kernel.send_signal(signal.SIGKILL)
    victim.socket.close()
    wait_for(lambda: not psutil.pid_exists(kernel.pid) or kernel.status() == "zombie", "its end")
    time.sleep(5)  # until the server has seen it and started another
    cells = victim.open(name)
    lost = victim.run("mine")
    return {
        "file": victim.api("GET", f"contents/{name}")["content"] == file["content"],
        "state lost": lost == "NameError",
        "runs again": victim.run(cells[0]) is None,
        "others": all(student.run("assert mine == 1") is None for student in others),
    }


def measure():
    if not TEACHING.exists():
        yield "no teachers' tools here", "not measured", "run make teaching"
        return
    count = max(2, min(MOST, int(psutil.virtual_memory().available * 0.8 / NEEDS)))
    with classroom(count, NOTEBOOK) as (students, password), ThreadPoolExecutor(count) as pool:
        lessons = list(pool.map(lambda s: attend(s, password, NOTEBOOK.name), students))
        memory = [student.memory() for student in students]
        left = lose_a_kernel(students, NOTEBOOK.name)
    entered, first, whole, errors = zip(*lessons, strict=True)
    failures = [e for e in errors if e]
    peak, share = (max(m) / 1e6 for m in zip(*memory, strict=True))
    cells = len(nbformat.read(NOTEBOOK, as_version=4).cells)
    yield f"{count} students, {NOTEBOOK.stem} ({cells} cells): failures", f"{len(failures)}", "0"
    yield "log in and server up, median", f"{statistics.median(entered):.0f} s", ""
    yield (
        "first cell done, median / last",
        f"{statistics.median(first):.0f} / {max(first):.0f} s",
        "",
    )
    p95 = sorted(whole)[min(count - 1, int(count * 0.95))]
    yield "whole notebook, median / p95", f"{statistics.median(whole):.0f} / {p95:.0f} s", ""
    yield "peak memory per student (server and kernel)", f"{peak:.0f} MB", "<= 1100 MB"
    yield "the same with shared pages divided", f"{share:.0f} MB", ""
    yield "seats per GB, each alone / on one host", f"{1e3 / peak:.1f} / {1e3 / share:.1f}", ""
    for what, came_out in left.items():
        yield f"kernel killed in a cell: {what}", "yes" if came_out else "no", "yes"
