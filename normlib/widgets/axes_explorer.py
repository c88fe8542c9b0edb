"""AxesExplorer: point at an output and see which inputs it uses, measured from the code."""

import anywidget
import numpy as np
import torch
import traitlets

from normlib import messages
from normlib.axes import footprint, layout_of, number_rows, private_copy
from normlib.widgets._base import Packer, source

MAX_CELLS = 4096


class AxesExplorer(anywidget.AnyWidget):
    """See which inputs every output of a normalization uses, and whom every input reaches.

    methods: a callable, several in a list, or a dict of name to callable; in place of a callable
        a dict of setting to callable makes a slider, {"Group Norm": {1: ..., 2: ..., 6: ...}}.
        Anything goes that maps a tensor to a tensor of the same shape: normlib's layers,
        torch.nn's, a lambda.
    x: floating point, finite, at most 4,096 cells; (N, C), (N, C, H, W), or rank 3, which is read
        as tokens (N, L, C) unless layout="NCL". Weights: layout="OI" (linear) or "OIHW"
        (convolution) for functions of a weight tensor, outputs down and inputs to the right.
    probes: as in footprint: 0 measures at the values of x, for functions such as max.

    All footprints are measured here, once; the browser only looks them up. Traits to read or set:
    `method` and `setting` (indices), `cell` (flat index into x), `question` ("sees" or
    "reaches"), `values` ("before" or "after").
    """

    _esm = source("axes_explorer", "js")
    _css = source("axes_explorer", "css")

    spec = traitlets.Dict().tag(sync=True)
    data = traitlets.Bytes().tag(sync=True)
    method = traitlets.Int(0).tag(sync=True)
    setting = traitlets.Int(0).tag(sync=True)
    cell = traitlets.Int(0).tag(sync=True)
    question = traitlets.Enum(["sees", "reaches"], "sees").tag(sync=True)
    values = traitlets.Enum(["before", "after"], "before").tag(sync=True)

    def __init__(self, methods, x, layout=None, probes=3, **traits):
        if layout is None and getattr(x, "ndim", None) == 3:
            layout = "NLC"
        layout = layout_of(x, layout)
        if layout not in messages.AXES:
            raise ValueError(f"no words for the axes {layout!r}: use {', '.join(messages.AXES)}")
        if x.numel() > MAX_CELLS:
            raise ValueError(
                f"{x.numel():,} cells of shape {tuple(x.shape)} are more than the {MAX_CELLS:,} "
                "that can be told apart on a screen: pass a slice, such as x[:4, :8]"
            )
        if x.numel() == 0:
            raise ValueError(f"there is nothing to show in a tensor of shape {tuple(x.shape)}")
        if not x.isfinite().all():
            bad = int((~x.isfinite()).sum())
            raise ValueError(f"x has {bad} values that are NaN or infinite; look at them first")
        packer = Packer()
        x = x.detach().cpu().double()
        entries = []
        for name, settings in named_methods(methods).items():
            variants = [
                measure(f"{name} ({key})" if key != "" else name, fn, x, layout, probes, packer)
                for key, fn in settings.items()
            ]
            entries.append({"name": name, "settings": list(settings), "variants": variants})
        spec = {
            "shape": list(x.shape),
            "layout": list(layout),
            "axes": messages.AXES[layout],
            "x": packer.add(x.numpy(), "f8"),
            "methods": entries,
            "text": messages.EXPLORER,
        }
        super().__init__(spec=spec, data=packer.bytes(), **traits)

    @traitlets.validate("cell", "method", "setting")
    def _exists(self, proposal):
        name, methods = proposal["trait"].name, self.spec["methods"]
        count = {
            "cell": int(np.prod(self.spec["shape"])),
            "method": len(methods),
            "setting": max(len(method["settings"]) for method in methods),
        }[name]
        if not 0 <= proposal["value"] < count:
            raise traitlets.TraitError(
                f"{name} {proposal['value']} does not exist: choose 0 to {count - 1}"
            )
        return proposal["value"]


def named_methods(methods):
    """Bring what AxesExplorer accepts into one form: {name: {setting: callable}}."""
    if callable(methods):
        methods = [methods]
    if isinstance(methods, (list, tuple)):
        named = {}
        for fn in methods:
            name = getattr(fn, "__name__", type(fn).__name__)
            while name in named:
                name += "'"
            named[name] = fn
        methods = named
    if not isinstance(methods, dict) or not methods:
        raise TypeError("pass a function, a list of functions, or a dict of name to function")
    settings = {n: fn if isinstance(fn, dict) else {"": fn} for n, fn in methods.items()}
    for name, family in settings.items():
        for fn in family.values():
            if not callable(fn):
                raise TypeError(f"{name!r} is {type(fn).__name__}, not a function")
        if not family:
            raise ValueError(f"{name!r} has no settings: give {{setting: function}}")
    return settings


def measure(name, fn, x, layout, probes, packer):
    """Run one method: its outputs, both footprints, and the statistics of every footprint."""
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            y = private_copy(fn)(x.clone()).double()
        mask = footprint(fn, x, probes=probes)
    except Exception as error:
        raise ValueError(
            f"{name} fails on a float64 tensor of shape {tuple(x.shape)}: "
            f"{type(error).__name__}: {error}"
        ) from error
    if y.shape != x.shape:
        raise ValueError(
            f"{name} returns shape {tuple(y.shape)} for input {tuple(x.shape)}: "
            "the explorer shows functions that keep the shape"
        )
    mask = mask.reshape(x.numel(), x.numel())
    which, first = number_rows(mask)
    sees = mask[first].numpy()
    eps = float(getattr(fn, "eps", 1e-5) or 0.0)
    found = formula(x, y, sees, which, eps, affine=layout.startswith("N"))
    stats = [statistics(fn, x, row, cell, found) for row, cell in zip(sees, first, strict=True)]
    if all(where == "running" for *_, where in stats):
        found = "standardise"
    return {
        "y": packer.add(y.numpy(), "f8"),
        "eps": eps,
        "formula": found,
        "sees": describe_rows(mask, x.shape, layout, "uses", packer),
        "reaches": describe_rows(mask.T, x.shape, layout, "moves", packer),
        "mean": packer.add([s[0] for s in stats], "f8"),
        "var": packer.add([s[1] for s in stats], "f8"),
        "source": [s[2] for s in stats],
    }


def formula(x, y, sees, which, eps, affine):
    """Which arithmetic on each footprint gives the outputs.

    "standardise" also, if `affine`, up to a weight and a bias that all examples share, and
    "mixture" where nothing fits: several statistics, or none.
    """
    whole, x, y = x, x.reshape(-1), y.reshape(-1)
    cells = [x[torch.as_tensor(row)] for row in sees]
    mean = torch.stack([v.mean() for v in cells])[which]
    square = torch.stack([v.square().mean() for v in cells])[which]
    count = torch.tensor([len(v) for v in cells])[which]
    candidates = {
        "standardise": (x - mean) / (square - mean**2 + eps).sqrt(),
        "centre": x - mean,
        "rms": x / (square + eps).sqrt(),
        "length": x / (square * count).sqrt(),
    }
    matching = (n for n, c in candidates.items() if torch.allclose(c, y, rtol=1e-4, atol=1e-6))
    found = next(matching, None if affine else "mixture")
    if found is None:
        plain, output = (t.reshape(len(whole), -1) for t in (candidates["standardise"], y))
        plain, output = plain - plain.mean(0), output - output.mean(0)
        fit = (plain * output).sum(0) / plain.square().sum(0) * plain
        found = "standardise" if torch.allclose(fit, output, rtol=1e-3, atol=1e-5) else "mixture"
    return found


def statistics(fn, x, row, cell, found):
    """Mean, biased variance and where they are from: the cells of a footprint, or memory."""
    running = getattr(fn, "running_mean", None), getattr(fn, "running_var", None)
    if row.sum() == 1 and None not in running and not fn.training:
        channel = np.unravel_index(cell, x.shape)[1]
        return running[0][channel].item(), running[1][channel].item(), "running"
    if row.sum() < 2 or found == "mixture":
        return float("nan"), float("nan"), "none"
    values = x.reshape(-1)[torch.as_tensor(row)]
    return values.mean().item(), values.var(unbiased=False).item(), "measured"


def describe_rows(mask, shape, layout, verb, packer):
    """What the browser needs of footprints: which cells have which, its cells, its sentence."""
    which, first = number_rows(mask.contiguous())
    rows, runs, offsets = mask[first].numpy(), [], [0]
    for row in rows:
        edges = np.flatnonzero(np.diff(row, prepend=False, append=False))
        runs.extend(edges)
        offsets.append(len(runs))
    return {
        "which": packer.add(which, "i4"),
        "runs": packer.add(runs, "i4"),
        "offsets": packer.add(offsets, "i4"),
        "counts": [int(row.sum()) for row in rows],
        "text": [sentence(row.reshape(shape), layout, verb) for row in rows],
    }


def sentence(mask, layout, verb):
    """Say in words what a footprint is: "This output uses 64 values: channel 2, ..."."""
    text, count = messages.EXPLORER, int(mask.sum())
    form = {0: f"{verb}_nothing", 1: f"{verb}_other"}.get(count, verb)
    return text[form].format(count=count, what=block(mask, layout) if count else "")


def block(mask, layout):
    """Name a footprint axis by axis: "channel 2, every example, every position"."""
    text, words = messages.EXPLORER, messages.AXES[layout]
    used = {axis: np.unique(index) for axis, index in zip(layout, np.nonzero(mask), strict=True)}
    if np.prod([len(indices) for indices in used.values()]) != mask.sum():
        return text["no_block"]
    phrases = {}
    for axis, size in zip(layout, mask.shape, strict=True):
        first, last, count = used[axis][0], used[axis][-1], len(used[axis])
        if count == 1:
            form = "one"
        elif count == size:
            form = "every"
        else:
            form = "range" if last - first + 1 == count else "several"
        indices = ", ".join(map(str, used[axis]))
        phrases[axis] = text[form].format(
            axis=words[axis], index=first, first=first, last=last, indices=indices
        )
    if layout.endswith("HW") and mask.shape[2:] == (len(used["H"]), len(used["W"])):
        phrases["H"] = text["every"].format(axis=text["position"])
        del phrases["W"]
    order = "LNC" if layout == "NLC" else "OICNLHW"
    return ", ".join(phrases[axis] for axis in order if axis in phrases)
