"""Is this machine ready for the course? Compares what is installed with the course's pins."""

import pathlib
import re
import sys
from importlib import metadata

from normlib.feedback import Card
from normlib.messages import ENVIRONMENT

REQUIREMENTS = pathlib.Path(__file__).parent.parent / "requirements.txt"
NEEDED = "anywidget", "ipywidgets", "matplotlib", "numpy", "scikit-learn", "torch", "tqdm"
LAB = "jupyterlab", "jupyterlab-widgets"  # needed in the course's folder; Colab has its own


def installed(name):
    """The version of an installed package without its local part ("+cpu"), or None."""
    try:
        return metadata.version(name).partition("+")[0]
    except metadata.PackageNotFoundError:
        return None


def pins(requirements=REQUIREMENTS):
    """{package: set of pinned versions} from requirements.txt; empty when there is no such file."""
    text = requirements.read_text("utf-8") if requirements.exists() else ""
    found = {}
    for name, version in re.findall(r"^([\w.-]+)==([\w.]+)", text, re.M):
        found.setdefault(name, set()).add(version)
    return found


def self_check(installed=installed, pinned=None):
    """A card: all is well, or what is missing or of another version, and what to do about it."""
    pinned = pins() if pinned is None else pinned
    lines, missing = [], False
    for name in NEEDED + (LAB if pinned else ()):
        version, wanted = installed(name), pinned.get(name)
        if version is None:
            missing = True
            lines.append(ENVIRONMENT["missing"].format(name=name))
        elif wanted and version not in wanted:
            text = ENVIRONMENT["other"]
            lines.append(text.format(name=name, version=version, wanted=" / ".join(sorted(wanted))))
    if not lines:
        python = ".".join(map(str, sys.version_info[:3]))
        summary = ENVIRONMENT["summary"].format(python=python, torch=installed("torch"))
        return Card(ENVIRONMENT["ready"], [summary], "good")
    lines.append(ENVIRONMENT["remedy"])
    return Card(
        ENVIRONMENT["broken" if missing else "differs"], lines, "bad" if missing else "mixed"
    )
