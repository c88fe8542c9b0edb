"""AxesExplorer: point at an output and see which inputs it uses, measured from the code."""

import itertools
import numbers

import anywidget
import numpy as np
import torch
import traitlets

from normlib import messages
from normlib.axes import layout_of
from normlib.footprint import Runner, examine, moved, number_rows
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

    All footprints are measured here, once, where x is; the browser only looks them up. A method
    that hides a part of itself from the gradient gets two entries: what its value uses, and where
    its gradient goes. Traits to read or set:
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

    def __init__(self, methods, x, layout=None, probes=None, **traits):
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
        x, entries = x.detach().double(), []
        for name, settings in named_methods(methods).items():
            looks = [
                look(f"{name} ({key})" if key != "" else name, fn, x, probes)
                for key, fn in settings.items()
            ]
            hides = any(found.hidden.any() for *_, found in looks)
            for kind in ("value", "gradient") if hides else ("whole",):
                variants = [
                    describe(fn, x, *seen, kind, layout, packer)
                    for fn, seen in zip(settings.values(), looks, strict=True)
                ]
                label = messages.EXPLORER[f"method_{kind}"].format(name=name)
                entries.append({"name": label, "settings": list(settings), "variants": variants})
        spec = {
            "shape": list(x.shape),
            "layout": list(layout),
            "axes": messages.AXES[layout],
            "x": packer.add(x.cpu().numpy(), "f8"),
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


def look(name, fn, x, probes):
    """One method's footprint, and its outputs at x and at a few random inputs: (4, *x.shape)."""
    try:
        run, found = Runner(fn, x), examine(fn, x, probes=probes)
        inputs = torch.stack([x, *(run.probe(2 * number) for number in range(3))])
        outputs = [run(one).detach().double() for one in inputs]
    except Exception as error:
        raise ValueError(f"{name} fails here: {error}") from error
    if outputs[0].shape != x.shape:
        raise ValueError(
            f"{name} returns shape {tuple(outputs[0].shape)} for input {tuple(x.shape)}: "
            "the explorer shows functions that keep the shape"
        )
    return inputs.cpu(), torch.stack(outputs).cpu(), found


def describe(fn, x, inputs, outputs, found, kind, layout, packer):
    """What the browser needs of one method: both footprints, and the statistics of each."""
    hidden = found.hidden.any()
    mask = moved(fn, x) if hidden and kind == "value" else found.mask
    mask, x = mask.reshape(x.numel(), x.numel()), x.cpu()
    which, first = number_rows(mask)
    sees = mask[first].numpy()
    eps = getattr(fn, "eps", 1e-5) or 0.0
    eps = float(eps) if isinstance(eps, numbers.Real) else 1e-5
    form = formula(fn, inputs, outputs, sees, which, eps)
    stats = [statistics(fn, x, row, cell, form) for row, cell in zip(sees, first, strict=True)]
    verbs = ("gradient", "taught") if kind == "gradient" else ("uses", "moves")
    note = kind if hidden else "varies" if found.varies.any() else "whole"
    return {
        "y": packer.add(outputs[0].numpy(), "f8"),
        "eps": eps,
        "formula": "standardise" if form == "running" else form,
        "note": f"note_{note}",
        "reach_note": f"reach_{note}",
        "sees": describe_rows(mask, x.shape, layout, verbs[0], packer),
        "reaches": describe_rows(mask.T, x.shape, layout, verbs[1], packer),
        "mean": packer.add([s[0] for s in stats], "f8"),
        "var": packer.add([s[1] for s in stats], "f8"),
        "source": [s[2] for s in stats],
    }


def formula(fn, x, y, sees, which, eps):
    """Which arithmetic on each footprint gives the outputs; "mixture" where none does.

    x, y: several inputs and outputs, (inputs, *shape). The arithmetic may be followed by a weight
    and a bias, per index of axis 1, of the last axis, or per element of an example.
    """
    flat = x.flatten(1)
    cells = [flat[:, torch.as_tensor(row)] for row in sees]
    mean = torch.stack([v.mean(1) for v in cells], 1)[:, which].view(x.shape)
    square = torch.stack([v.square().mean(1) for v in cells], 1)[:, which].view(x.shape)
    count = torch.tensor([row.sum() for row in sees])[which].view(x.shape[1:])
    candidates = {
        "standardise": (x - mean) / (square - mean**2 + eps).sqrt(),
        "rms": x / (square + eps).sqrt(),
        "length": x / (square * count).sqrt(),
        "centre": x - mean,
    }
    running = getattr(fn, "running_mean", None), getattr(fn, "running_var", None)
    if count.max() == 1:
        candidates = {}
        if all(getattr(r, "shape", None) == x.shape[2:3] for r in running):
            mean, var = (r.cpu().double().view(-1, *[1] * (x.dim() - 3)) for r in running)
            candidates = {"running": (x - mean) / (var + eps).sqrt()}
    shared = [], [a for a in range(x.dim()) if a != 2], list(range(x.dim() - 1)), [0, 1]
    for tolerance, axes, name in itertools.product((1e-8, 1e-4), shared, candidates):
        if _gives(candidates[name], y, axes, tolerance):
            return name
    return "mixture"


def _gives(plain, y, axes, tolerance):
    """Whether y is `plain`, or a weight times it plus a bias that are the same along `axes`."""
    near = {"rtol": tolerance, "atol": tolerance * y.std().item()}
    if not axes:
        return torch.allclose(plain, y, **near)
    plain, y = (t - t.mean(axes, keepdim=True) for t in (plain, y))
    weight = (plain * y).sum(axes, keepdim=True) / plain.square().sum(axes, keepdim=True)
    return torch.allclose(weight * plain, y, **near)


def statistics(fn, x, row, cell, form):
    """Mean, biased variance and where they are from: the cells of a footprint, or memory."""
    if form == "running":
        channel = np.unravel_index(cell, x.shape)[1]
        return fn.running_mean[channel].item(), fn.running_var[channel].item(), "running"
    if row.sum() < 2 or form == "mixture":
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
        "itself": messages.EXPLORER.get(f"{verb}_itself"),
    }


def sentence(mask, layout, verb):
    """Say in words what a footprint is: "This output uses 64 values: channel 2, ..."."""
    text, count = messages.EXPLORER, int(mask.sum())
    form = {0: f"{verb}_nothing", 1: f"{verb}_other"}.get(count)
    return text.get(form, text[verb]).format(count=count, what=block(mask, layout) if count else "")


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
