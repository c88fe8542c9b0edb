"""python -m tools.launch [ADDRESS]: make the branch `launch`, which Binder, Colab and hubs open.
python -m tools.launch links: print where the course of this clone opens.

It is the commit that is checked out plus one folded first cell in every notebook: on Colab and
Kaggle, which bring their own torch, it installs the course beside it; elsewhere it does nothing.
ADDRESS: of the repository, as git can clone it; by default that of the remote `origin`.
"""

import pathlib
import re
import subprocess
import sys
import tempfile
from urllib.parse import quote

import nbformat

from tools.notebooks import NOTEBOOKS, ROOT, load

BRANCH = "launch"
CELL = """\
# Install: the course beside the torch that is here, on Colab and Kaggle; nothing elsewhere
import importlib.util
import os
import subprocess
import sys

served = "google.colab" in sys.modules or "KAGGLE_KERNEL_RUN_TYPE" in os.environ
if served and importlib.util.find_spec("normlib") is None:
    course = "git+{address}@{commit}"
    command = [sys.executable, "-m", "pip", "install", "-q", course]
    done = subprocess.run(command, capture_output=True, text=True)
    print("The course is installed." if done.returncode == 0 else done.stderr)
    importlib.invalidate_caches()"""


def git(*words, at=ROOT):
    """What git prints."""
    done = subprocess.run(["git", *words], cwd=at, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def with_install(notebook, address, commit):
    """Put the first cell before all others; returns the notebook."""
    cell = nbformat.v4.new_code_cell(CELL.format(address=address, commit=commit), id="install")
    cell.metadata = {"jupyter": {"source_hidden": True}, "tags": ["hide-input"], "cellView": "form"}
    notebook.cells.insert(0, cell)
    return notebook


def publish(address, root=ROOT):
    """Commit the branch in the repository at `root`, without touching its work tree."""
    commit = git("rev-parse", "HEAD", at=root)
    with tempfile.TemporaryDirectory() as folder:
        git("worktree", "add", "--detach", folder, commit, at=root)
        try:
            for path in sorted(pathlib.Path(folder).glob("notebooks/*.ipynb")):
                nbformat.write(with_install(load(path), address, commit), path)
            git("commit", "-qam", f"{commit[:7]}, with a cell that installs the course", at=folder)
            git("branch", "-f", BRANCH, git("rev-parse", "HEAD", at=folder), at=root)
        finally:
            git("worktree", "remove", "--force", folder, at=root)


def repository():
    """The address of the repository that this clone came from, for a browser, or None."""
    command = ["git", "-C", str(ROOT), "remote", "get-url", "origin"]
    found = subprocess.run(command, capture_output=True, text=True)
    address = re.sub(r"^git@([^:]+):", r"https://\1/", found.stdout.strip()).removesuffix(".git")
    return address if address.startswith("https://") else None


def links():
    """Where the course opens for anybody; {} without a repository."""
    first, address = NOTEBOOKS[0].stem, repository()
    if address is None:
        return {}
    github, folder = address.removeprefix("https://github.com/"), address.rsplit("/", 1)[1]
    where = f"git/{quote(address, safe='')}" if github == address else f"gh/{github}"
    place = f"lab/tree/{folder}/notebooks/{first}.ipynb"
    repo, path = quote(address, safe=""), quote(place, safe="")
    pull = f"git-pull?repo={repo}&branch={BRANCH}&urlpath={path}"
    found = {
        "Binder": f"https://mybinder.org/v2/{where}/{BRANCH}?urlpath=lab/tree/notebooks/{first}.ipynb",
        "JupyterHub": f"https://YOUR-HUB/hub/user-redirect/{pull}",
    }
    if github != address:
        owner, name = github.split("/", 1)
        at = f"{github}/blob/{BRANCH}/notebooks/{first}.ipynb"
        found["Colab"] = f"https://colab.research.google.com/github/{at}"
        found["book"] = f"https://{owner}.github.io/{name}/"
    return found


if __name__ == "__main__":
    if sys.argv[1:] == ["links"]:
        for kind, link in links().items():
            print(f"{kind}: {link}")
        sys.exit(None if links() else "this clone has no remote 'origin' with a public address")
    where = sys.argv[1] if len(sys.argv) > 1 else repository()
    if where is None:
        sys.exit("this clone has no remote 'origin' with a public address: name one")
    publish(where)
    print(f"branch {BRANCH}: push it with git push --force origin {BRANCH}")
