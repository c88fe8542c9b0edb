"""Flipbook: draw a figure for every setting once, then flip through them without waiting."""

import inspect
import io
import itertools

import matplotlib.pyplot as plt
import numpy as np
import traitlets
from PIL import Image

from normlib import messages
from normlib.widgets._base import MAX_STILL, Packer, Widget, source, unpack, webp
from normlib.widgets.progress import progress

MAX_BYTES = 2_000_000


class Flipbook(Widget):
    """A picture with sliders that answer at once: every setting is drawn when it is made.

    draw: a function of the choices that returns a matplotlib figure.
    alt: what the picture shows, for readers who cannot see it: a function of the same choices
        that returns a sentence, or a sentence for all. Left out: draw's docstring.
    choices: the values of each argument. Numbers become a slider, anything else buttons; the
        name of the argument is shown with spaces for underscores.

    >>> Flipbook(lambda lr, norm: plot_run(lr, norm), lr=[0.01, 0.1, 1.0], norm=["none", "batch"])

    Raises ValueError when a choice is empty, when draw fails (saying for which settings), and
    when the pictures are larger than 2 MB together. `index` holds the chosen positions.
    """

    _esm = source("js", "flipbook")
    _css = source("css", "flipbook")

    spec = traitlets.Dict().tag(sync=True)
    data = traitlets.Bytes().tag(sync=True)
    index = traitlets.List(traitlets.Int()).tag(sync=True)

    def __init__(self, draw, *, alt=None, **choices):
        choices = {name: list(values) for name, values in choices.items()}
        if not choices:
            raise ValueError("give at least one choice to flip through, such as lr=[0.1, 1.0]")
        for name, values in choices.items():
            if not values:
                raise ValueError(f"{name} has no values to choose from")
        if alt is None:
            alt = (inspect.getdoc(draw) or "").partition("\n")[0]
        packer, frames = Packer(), []
        settings = [
            dict(zip(choices, values, strict=True))
            for values in itertools.product(*choices.values())
        ]
        for setting in progress(settings, messages.FLIPBOOK["progress"]):
            picture, width = frame(draw, setting)
            words = alt(**setting) if callable(alt) else f"{alt} {describe(setting)}".strip()
            image = packer.add(bytearray(picture), "u1")
            frames.append({"image": image, "alt": words, "width": width})
            if packer.size > MAX_BYTES:
                each = packer.size // len(frames)
                raise ValueError(
                    f"{len(settings)} pictures of about {each // 1000} kB are more than "
                    f"{MAX_BYTES // 1_000_000} MB: offer fewer values, or draw smaller figures"
                )
        spec = {
            "choices": [
                {
                    "name": name.replace("_", " "),
                    "values": [str(value) for value in values],
                    "slider": all(
                        isinstance(value, (int, float)) and not isinstance(value, bool)
                        for value in values
                    ),
                }
                for name, values in choices.items()
            ],
            "frames": frames,
            "text": messages.FLIPBOOK,
        }
        super().__init__(spec=spec, data=packer.bytes(), index=[0] * len(choices))

    def _page(self):
        """What is seen now: an entry of frames."""
        sizes = [len(choice["values"]) for choice in self.spec["choices"]]
        return self.spec["frames"][np.ravel_multi_index(self.index, sizes)]

    def words(self):
        text = messages.STILL
        choices = "; ".join(
            text["choice"].format(name=c["name"], values=", ".join(c["values"]))
            for c in self.spec["choices"]
        )
        return [self._page()["alt"], text["flipbook"].format(choices=choices)]

    def picture(self):
        page = self._page()
        image = unpack(self.data, page["image"]).tobytes()
        while len(image) > MAX_STILL:  # a photograph, say
            image = webp(Image.open(io.BytesIO(image)).reduce(2))
        return image, page["alt"]

    @traitlets.validate("index")
    def _index_exists(self, proposal):
        sizes = [len(choice["values"]) for choice in self.spec["choices"]]
        index = proposal["value"]
        if len(index) != len(sizes) or any(
            not 0 <= i < size for i, size in zip(index, sizes, strict=True)
        ):
            raise traitlets.TraitError(f"index {index} does not exist: sizes are {sizes}")
        return index


def describe(setting):
    """ "batch size = 4, lr = 0.1" for {"batch_size": 4, "lr": 0.1}."""
    form = messages.FLIPBOOK["setting"]
    words = {name.replace("_", " "): value for name, value in setting.items()}
    return ", ".join(form.format(name=name, value=value) for name, value in words.items())


def frame(draw, setting):
    """Draw one setting: WebP bytes and width in CSS pixels. Leaves no figure open."""
    before = set(plt.get_fignums())
    try:
        figure = draw(**setting)
        if not hasattr(figure, "savefig"):
            raise TypeError(
                f"it returned {type(figure).__name__}, not a figure: end with return fig"
            )
        buffer = io.BytesIO()
        kind = {"lossless": True, "method": 1}  # as small as the default, and quicker
        figure.savefig(buffer, format="webp", dpi=130, pil_kwargs=kind)
    except Exception as error:
        call = ", ".join(f"{name}={value!r}" for name, value in setting.items())
        raise ValueError(f"draw({call}) failed: {type(error).__name__}: {error}") from error
    finally:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)
    return buffer.getvalue(), round(figure.get_size_inches()[0] * 100)
