"""What the widgets share: their look, their script, and numbers on their way to the browser."""

import pathlib

import numpy as np

HERE = pathlib.Path(__file__).parent


def source(name, ending):
    """The text that widgets share followed by a widget's own: its style or its script."""
    return "".join((HERE / f"{part}.{ending}").read_text("utf-8") for part in ("base", name))


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
