"""What the widgets share: their look, their script, their still, and numbers for the browser."""

import base64
import html
import io
import pathlib
import uuid

import anywidget
import numpy as np
import traitlets
from IPython.display import display

HERE = pathlib.Path(__file__).parent
VIEW = "application/vnd.jupyter.widget-view+json"
MAX_STILL = 40_000  # bytes of a picture, before they become text
STYLE = (HERE / "still.css").read_text("utf-8")  # where a still is seen, and where not


def source(ending, *names):
    """The text that widgets share followed by a widget's own: its style or its script."""
    return "".join((HERE / f"{part}.{ending}").read_text("utf-8") for part in ("base", *names))


class Widget(anywidget.AnyWidget):
    """An anywidget that leaves a still, words and a picture, wherever it cannot be alive.

    It shows two outputs: the widget, and right behind it the still, which hides behind a widget
    that lives. A subclass has `words()`, a list of paragraphs, and may have `picture()`, the bytes
    of a WebP image and what it shows; `redo` names the traits that change either.
    """

    redo = ()
    still = traitlets.Unicode().tag(sync=True)  # the script finds the still by this name

    @traitlets.default("still")
    def _name(self):
        return uuid.uuid4().hex

    def _ipython_display_(self, **kwargs):
        data, metadata = self._repr_mimebundle_()  # Colab needs its metadata
        alive = {VIEW: data[VIEW], "text/html": "", "text/plain": ""}
        display(alive, metadata=metadata, raw=True)
        display(self._still(), raw=True, display_id=self.still)
        self.observe(self._redo, self.redo)

    def _redo(self, _):
        """Bring the stills that were shown up to date, in the page and so in the saved file."""
        display(self._still(), raw=True, display_id=self.still, update=True)

    def _still(self):
        words, (image, alt) = self.words(), self.picture()
        parts = [f"<p>{html.escape(text)}</p>" for text in words]
        if image:
            code = base64.b64encode(image).decode()
            shown = f'<img alt="{html.escape(alt)}" src="data:image/webp;base64,{code}">'
            parts.insert(1, f"<p>{shown}</p>")
        inside = "".join([*parts, f"<style>{STYLE}</style>"])
        return {
            "text/html": f'<div class="nl-still" data-still="{self.still}">{inside}</div>',
            "text/plain": "\n".join(words),
        }

    def picture(self):
        return b"", ""


def webp(image):
    """An image as WebP: without loss, or a smaller one where that would be large."""
    for kind in ({"lossless": True, "method": 0}, {"quality": 70, "method": 2}):
        buffer = io.BytesIO()
        image.save(buffer, "webp", **kind)
        if buffer.tell() <= MAX_STILL:
            break
    return buffer.getvalue()


class Packer:
    """Collects arrays into one buffer; add() returns where the browser finds an array again."""

    def __init__(self):
        self.parts, self.size = [], 0

    def add(self, array, dtype):
        """Append as little-endian `dtype` ("f8", "i4" or "u1"); returns [dtype, offset, length].

        Every array starts at a multiple of 8 bytes: a browser reads float64 from nowhere else.
        """
        self._append(bytes(-self.size % 8))
        data = np.ascontiguousarray(array, dtype=np.dtype(dtype).newbyteorder("<")).ravel()
        where = [dtype, self.size, data.size]
        self._append(data.tobytes())
        return where

    def _append(self, data):
        self.parts.append(data)
        self.size += len(data)

    def bytes(self):
        return b"".join(self.parts)


def unpack(data, where):
    """The array that Packer.add put at `where`."""
    dtype, offset, length = where
    return np.frombuffer(data, np.dtype(dtype).newbyteorder("<"), length, offset)
