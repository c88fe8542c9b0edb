"""A progress bar that leaves nothing behind, neither on the page nor in the saved file."""

import time

from IPython import get_ipython
from IPython.display import display
from tqdm import tqdm


def progress(steps, what="training"):
    """Go through `steps`, a list, and show how far that is: tqdm's bar, in a notebook or without.

    >>> for seed in progress(training.seeds(3)):
    ...     train(seed)
    """
    steps = list(steps)
    if not hasattr(get_ipython(), "kernel"):
        yield from tqdm(steps, desc=what, leave=False)
        return
    # A line of text. tqdm's own bar for notebooks is made of widgets, and those fail in the
    # browser if the loop ends before they are drawn.
    place, start = display({"text/plain": ""}, raw=True, display_id=True), time.monotonic()
    try:
        for n, step in enumerate(steps):
            bar = tqdm.format_meter(n, len(steps), time.monotonic() - start, ncols=70, prefix=what)
            place.update({"text/plain": bar}, raw=True)
            yield step
    finally:
        place.update({"text/plain": ""}, raw=True)
