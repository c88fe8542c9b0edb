"""Every notebook in a fresh kernel: seconds from top to bottom, and the kernel's peak memory."""

from tools.notebooks import NOTEBOOKS, place_of, run


def measure():
    total = 0.0
    for path in NOTEBOOKS:
        place_of(path).unlink(missing_ok=True)  # measured anew, one after another
        came_out = run(path)
        total += came_out.seconds
        yield f"{path.stem}: top to bottom", f"{came_out.seconds:.0f} s", "<= 60 s"
        peak = f"{came_out.memory / 2**20:.0f} MB"
        yield f"{path.stem}: kernel's peak memory", peak, "<= 750 MB"
    yield "all notebooks", f"{total:.0f} s", "<= 480 s"
