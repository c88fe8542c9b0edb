"""A progress bar that leaves nothing behind, neither on the page nor in the saved file."""

from IPython.display import display
from tqdm.auto import tqdm
from tqdm.notebook import tqdm as tqdm_notebook


def progress(steps, what="training"):
    """Go through `steps`, a list, and show how far that is: tqdm's bar, in a notebook or without.

    >>> for seed in progress(training.seeds(3)):
    ...     train(seed)
    """
    steps = list(steps)
    if not issubclass(tqdm, tqdm_notebook):
        yield from tqdm(steps, desc=what, leave=False)
        return
    bar = tqdm(steps, desc=what, leave=False, display=False)
    place = display(bar.container, display_id=True)
    try:
        yield from bar
    finally:
        bar.close()
        place.update({"text/plain": ""}, raw=True)
