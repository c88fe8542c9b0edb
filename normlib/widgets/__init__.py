"""Three widgets that redraw in the browser and need no kernel once they are shown; and a bar."""

from normlib.widgets import stopped  # noqa: F401  # watches from now on
from normlib.widgets.axes_explorer import AxesExplorer
from normlib.widgets.flipbook import Flipbook
from normlib.widgets.predict import Predict
from normlib.widgets.progress import progress

__all__ = ["AxesExplorer", "Flipbook", "Predict", "progress"]
