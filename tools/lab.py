"""A real JupyterLab in a real Chromium: start a server, open a notebook, run it, look."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

CHROMIUM_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
TOKEN = "normlib"
KERNEL = "window.jupyterapp?.shell?.currentWidget?.sessionContext?.session?.kernel"


def chromium():
    """Path of the system's Chromium or Chrome, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def server(folder, python=sys.executable):
    """JupyterLab serving folder/notebooks, as `make lab` starts it; yields its address."""
    port, home = free_port(), folder / "home"
    (folder / "notebooks").mkdir(exist_ok=True)
    env = os.environ | {
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
    }
    command = [
        python, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}",
        "--ServerApp.port_retries=0", "--expose-app-in-browser", "--allow-root",
        "--JupyterNotebookApp.expose_app_in_browser=True",
        f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder / 'notebooks'}",
    ]  # fmt: skip
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
    try:
        wait_for(f"http://127.0.0.1:{port}/api/status?token={TOKEN}", process, folder)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()


def wait_for(url, process, folder):
    end = time.time() + 60
    while time.time() < end and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(url).close()
            return
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{(folder / 'server.log').read_text()[-3000:]}")


class Lab:
    """A notebook open in JupyterLab: `page` is playwright's, `errors` what the console said.

    where: "notebooks" opens it in Notebook 7, on a server that has it.
    """

    def __init__(self, page, address, name, where="lab/tree"):
        self.page, self.errors = page, []
        page.on("pageerror", lambda error: self.errors.append(f"page error: {error}"))
        page.on("console", self.heard)
        page.goto(f"{address}/{where}/{name}?reset&token={TOKEN}")
        page.wait_for_function(KERNEL, timeout=30_000)
        page.evaluate(
            "async () => { const p = window.jupyterapp.shell.currentWidget;"
            " await p.revealed; await p.sessionContext.ready; }"
        )

    def heard(self, message):
        if message.type == "error":
            self.errors.append(f"console: {message.text} ({message.location.get('url', '')})")

    def run_all(self, timeout=180):
        """Run every cell and wait until the kernel is idle; returns the errors of the cells."""
        self.page.set_default_timeout(timeout * 1000)
        self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
        self.page.wait_for_function(f"{KERNEL}.status === 'idle'")
        self.page.set_default_timeout(20_000)
        return self.page.evaluate(
            """() => {
              const cells = window.jupyterapp.shell.currentWidget.content.model.cells;
              const errors = [];
              for (let i = 0; i < cells.length; i++) {
                if (cells.get(i).type !== "code") continue;
                for (const output of cells.get(i).toJSON().outputs)
                  if (output.output_type === "error")
                    errors.push(`${cells.get(i).id}: ${output.ename}: ${output.evalue}`);
              }
              return errors;
            }"""
        )

    def save(self):
        """Save the notebook with the state of its widgets, as the menu does."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        self.page.wait_for_function(
            "() => !window.jupyterapp.shell.currentWidget.context.model.dirty"
        )

    def count_of(self, id):
        """Script for how often a cell has been run in this kernel: In [n]."""
        cells = "[...window.jupyterapp.shell.currentWidget.content.model.cells]"
        return f"{cells}.find((cell) => cell.id === '{id}').executionCount"

    def count(self, id):
        return self.page.evaluate(self.count_of(id))

    def cell(self, id):
        """The element of a cell, scrolled into view so that it is rendered."""
        self.page.evaluate(
            """async (id) => {
              const notebook = window.jupyterapp.shell.currentWidget.content;
              const index = notebook.widgets.findIndex((w) => w.model.id === id);
              if (index < 0) throw new Error(`no cell ${id}`);
              notebook.activeCellIndex = index;
              await notebook.scrollToItem(index, "start");
              notebook.widgets[index].node.dataset.cellId = id;
            }""",
            id,
        )
        return self.page.locator(f'[data-cell-id="{id}"]')
