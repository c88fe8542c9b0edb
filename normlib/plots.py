"""The course's pictures: functions of arrays that return a matplotlib figure, and one style.

Four hues have a fixed meaning: input blue, statistic green, normalised output orange, and the
highlighted group in its own colour. Every method keeps one colour and one marker throughout.
"""

import base64
import html
import io
import pathlib

import matplotlib.pyplot as plt
import numpy as np
import torch

from normlib.footprint import footprint, number_rows

INPUT, STATISTIC, OUTPUT, QUIET = "#0072b2", "#00825c", "#c44e00", "#8a929e"
LOOKS = {  # of a method: colour, marker
    "without": ("#5a6372", "o"),
    "Batch Norm": ("#0072b2", "s"),
    "Layer Norm": ("#c44e00", "^"),
    "Instance Norm": ("#00825c", "D"),
    "Group Norm": ("#a8478f", "v"),
    "Weight Norm": ("#7a4b2a", "d"),
    "RMSNorm": ("#6f4fc0", "<"),
    "Batch Renorm": ("#8c6d00", "p"),
    "Batch-Instance Norm": ("#3b4fb8", "h"),
    "Switchable Norm": ("#b3261e", "X"),
    "mean-only Batch Norm": ("#1f2430", ">"),
    "noisy Batch Norm": ("#56a0d3", "P"),
    "Batch Norm, shared": ("#4a7c1f", "P"),
    "moving average": ("#1f2430", "x"),
}
LOOKS["Batch Norm per step"] = LOOKS["Batch Norm"]
OTHERS = [("#1f2430", "o"), ("#7a5195", "*"), ("#d1495b", "H"), ("#b07d00", "8")]  # no method
# Colours of sets that share a statistic: distinct to colour-blind eyes, pale enough for text.
SETS = ["#56b4e9", "#f0a35e", "#7fcdbb", "#cc9ac7", "#f0e442", "#b8bcc4"]


def set_color(number):
    """The colour of a set; shifted after every round, so that rows of sets differ too."""
    return SETS[(number + number // len(SETS)) % len(SETS)]


plt.style.use(pathlib.Path(__file__).parent / "course.mplstyle")


class Picture:
    """A figure as it stands in a notebook: an image with alt text, and a sentence under it."""

    def __init__(self, figure, see, alt):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        plt.close(figure)
        self.png, self.see, self.alt = buffer.getvalue(), see, alt

    def __repr__(self):
        return f"{self.see} [{self.alt}]"

    def _repr_html_(self):
        source = base64.b64encode(self.png).decode()
        return (
            '<figure style="margin:4px 0;max-width:900px">'
            f'<img alt="{html.escape(self.alt)}" src="data:image/png;base64,{source}" '
            'style="background:#fff;border-radius:6px;max-width:100%">'
            f"<figcaption>{html.escape(self.see)}</figcaption></figure>"
        )


def _array(values):
    """Numbers for matplotlib, from wherever tensors live."""
    if isinstance(values, (list, tuple)):
        return np.array([_array(value) for value in values])
    values = values.detach().cpu() if isinstance(values, torch.Tensor) else values
    return np.asarray(values, dtype=float)


show = Picture  # plots.show(figure, see, alt) at the end of a cell


def curves(x, runs, *, figsize=(8.4, 3.9), **settings):
    """Curves over seeds, one per method: the mean as a line, minimum to maximum as a band.

    x: (n,); runs: {method: (seeds, n)}, finite. One or two are named at their right end, more in
    a legend. settings go to the axes (title, yscale, ...).
    """
    x, runs = _array(x), {name: _array(values) for name, values in runs.items()}
    for name, values in runs.items():
        if values.ndim != 2 or values.shape[1] != len(x):
            raise ValueError(f"{name}: expected shape (seeds, {len(x)}), got {values.shape}")
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: there are NaN or infinite values; leave them out and say so")
    fig, ax = plt.subplots(figsize=figsize)
    ax.set(**settings)
    means, right = np.stack([values.mean(0) for values in runs.values()]), x.argmax()
    upper = max(range(len(runs)), key=lambda i: (means[i, right], means[i].mean()))
    for i, (name, values) in enumerate(runs.items()):
        color, marker = LOOKS.get(name) or OTHERS[i % len(OTHERS)]
        ax.fill_between(x, values.min(0), values.max(0), color=color, alpha=0.18, linewidth=0)
        ax.plot(x, means[i], color=color, marker=marker, label=name)
        if len(runs) <= 2:
            xy, apart = (x[right], means[i, right]), (9, 8 if i == upper else -8)
            place = {"xytext": apart, "textcoords": "offset points", "annotation_clip": False}
            ax.annotate(name, xy, color=color, va="center", **place)
    if len(runs) > 2:
        ax.legend()
    return fig


def strips(panels, ylabel, figsize=None):
    """Dots over seeds with a line at their mean: {title: {name: values}}, one panel per title."""
    figsize = figsize or (5.2 * len(panels) + 1, 3.6)
    fig, axes = plt.subplots(1, len(panels), figsize=figsize, sharey=True, squeeze=False)
    for ax, (title, groups) in zip(axes[0], panels.items(), strict=True):
        for i, (name, values) in enumerate(groups.items()):
            values = _array(values)
            color, marker = LOOKS.get(name, (INPUT, "o"))
            spread = np.linspace(-0.08, 0.08, len(values)) if len(values) > 1 else np.zeros(1)
            ax.plot(i + spread, values, marker, color=color, alpha=0.75)
            ax.plot([i - 0.25, i + 0.25], [values.mean()] * 2, color=color)
            at = (i + 0.28, values.mean())
            paper = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # hides a line behind it
            ax.annotate(f"{values.mean():.3f}", at, va="center", fontsize=12, bbox=paper)
        ax.set_xticks(range(len(groups)), list(groups))
        ax.tick_params(axis="x", labelsize=12)
        ax.set(title=title, xlim=(-0.5, len(groups) - 0.2))
    axes[0, 0].set_ylabel(ylabel)
    return fig


def tiles(values, title, vmax):
    """The (N, C) table as a heat map with its numbers; values: (N, C), not negative."""
    fig, ax = plt.subplots(figsize=(6.4, 3.6))
    values = _array(values)
    ax.imshow(values, cmap="Oranges", vmin=0, vmax=vmax)
    for (n, c), value in np.ndenumerate(values):
        ink = "white" if value > 0.7 * vmax else "#1f2430"
        ax.text(c, n, f"{value:.2f}", ha="center", va="center", fontsize=12, color=ink)
    ax.set(xlabel="channel", ylabel="example", title=title)
    ax.grid(False)
    return fig


def shared_sets(fn, x):
    """Number the outputs of fn(x) by footprint: outputs with the same number share a statistic.

    Measured. Returns an integer array of x's shape; numbers count up in reading order. Raises
    ValueError for a function that does not keep the shape.
    """
    mask = footprint(fn, x)
    if mask.shape != (*x.shape, *x.shape):
        raise ValueError(f"the function does not keep the shape of its input {tuple(x.shape)}")
    which, _ = number_rows(mask.reshape(x.numel(), -1))
    return np.array(which).reshape(x.shape)


def cubes(methods, x):
    """The article's cube, measured: channels right, positions down, examples into the depth.

    methods: {name: function}; x: (N, C, H, W). Cells of one colour and between bold lines share
    a statistic. Below each cube its (N, C) table, with the number of the set in every tile.
    """
    fig, axes = plt.subplots(
        2, len(methods), figsize=(3 * len(methods), 5.6), height_ratios=[3, 2], squeeze=False
    )
    for column, (name, fn) in enumerate(methods.items()):
        sets = shared_sets(fn, x)
        draw_cube(axes[0, column], sets.reshape(*sets.shape[:2], -1))
        draw_tiles(axes[1, column], sets)
        axes[0, column].set_title(name, loc="center")
    axes[1, 0].set_ylabel("example")
    return fig


def draw_cube(ax, sets):
    """Draw the three visible faces of sets (N, C, P), with bold lines where the number changes."""
    n, c, p = sets.shape
    right, down, back = np.array([1.0, 0]), np.array([0, -0.55]), np.array([0.5, 0.42])
    faces = (  # one corner per cell, two edges, and the numbers on that face
        (np.zeros(2), right, down, sets[0].T),
        (np.zeros(2), right, back, sets[:, :, 0]),
        (right * c, down, back, sets[:, -1, :]),
    )
    for origin, along, across, numbers in faces:
        rimmed = np.pad(numbers, 1, constant_values=-1)
        for r, k in np.ndindex(numbers.shape[0] + 1, numbers.shape[1] + 1):
            at, here = origin + along * k + across * r, rimmed[r + 1, k + 1]
            if here >= 0:
                ax.fill(
                    *zip(at, at + along, at + along + across, at + across, strict=True),
                    facecolor=set_color(here), edgecolor="white", linewidth=0.6,
                )  # fmt: skip
            for other, edge in ((rimmed[r, k + 1], along), (rimmed[r + 1, k], across)):
                if other != here:
                    ax.plot(*zip(at, at + edge, strict=True), color="#1f2430", linewidth=1.8)
    words = {"ha": "center", "fontsize": 12}
    ax.text(*(right * c / 2 + down * p + [0, -0.9]), "C", **words)
    ax.text(*(down * p / 2 + [-0.5, 0]), "H, W", va="center", rotation=90, **words)
    ax.text(*(back * n / 2 + [-0.4, 0.2]), "N", **words)
    ax.set_aspect("equal")
    ax.autoscale_view()
    ax.axis("off")


def draw_tiles(ax, sets):
    """Draw the (N, C) table; a tile that holds several sets says how many."""
    n, c = sets.shape[:2]
    for i in range(n):
        for j in range(c):
            inside = np.unique(sets[i, j])
            color = set_color(inside[0]) if len(inside) == 1 else "white"
            ax.add_patch(plt.Rectangle((j, i), 1, 1, facecolor=color, edgecolor="white"))
            label = str(inside[0]) if len(inside) == 1 else f"({len(inside)})"
            ax.text(j + 0.5, i + 0.5, label, ha="center", va="center", fontsize=12)
    ax.set(xlim=(0, c), ylim=(n, 0), aspect="equal", xlabel="channel")
    ax.set_xticks(np.arange(c) + 0.5, range(c))
    ax.set_yticks(np.arange(n) + 0.5, range(n))
    ax.grid(False)
    ax.tick_params(length=0)
