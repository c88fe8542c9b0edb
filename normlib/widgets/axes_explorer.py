"""AxesExplorer: point at an output and see which inputs it uses, measured from the code."""

import itertools
import numbers

import numpy as np
import torch
import traitlets
from PIL import Image

from normlib import messages
from normlib.axes import divisors, layout_of
from normlib.footprint import Runner, examine, moved, number_rows
from normlib.widgets._base import Packer, Widget, source, unpack, webp

MAX_CELLS = 4096
PROBES, TRAVEL = 4, 2  # inputs that tell the arithmetic; changes that the browser tests itself on
INPUT, OUTPUT, SOFT = (0, 114, 178), (196, 78, 0), (90, 99, 114)


class AxesExplorer(Widget):
    """See which inputs every output of a normalization uses, whom every input reaches, and what
    moves when you change a number.

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
    its gradient goes. What a change does is computed in the browser where the arithmetic of a
    method was recognised and agrees with the method on random changes; otherwise Python is asked.
    Traits to read or set:
    `method` and `setting` (indices), `cell` (flat index into x), `question` ("sees", "reaches" or
    "change"), `values` ("before" or "after"), `part` (what is changed: "cell", "tile", "column" or
    "row"), `changes` ({flat index: new value}).
    """

    _esm = source(
        "js", "axes_geometry", "axes_arithmetic", "axes_drawing", "axes_words", "axes_input",
        "axes_explorer",
    )  # fmt: skip
    _css = source("css", "axes_explorer")

    spec = traitlets.Dict().tag(sync=True)
    data = traitlets.Bytes().tag(sync=True)
    method = traitlets.Int(0).tag(sync=True)
    setting = traitlets.Int(0).tag(sync=True)
    cell = traitlets.Int(0).tag(sync=True)
    question = traitlets.Enum(["sees", "reaches", "change"], "sees").tag(sync=True)
    values = traitlets.Enum(["before", "after"], "before").tag(sync=True)
    part = traitlets.Enum(["cell", "tile", "column", "row"], "cell").tag(sync=True)
    changes = traitlets.Dict().tag(sync=True)
    asks = traitlets.Bool(False).tag(sync=True)  # the browser cannot tell what a change does
    answer = traitlets.Bytes().tag(sync=True)  # the outputs,
    answered = traitlets.Dict().tag(sync=True)  # and for which method, setting and changes

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
        self._x, self._runs, entries = x.detach().double().contiguous(), [], []
        tests = random_changes(self._x)
        for name, settings in named_methods(methods).items():
            runs, looks = zip(
                *(
                    look(f"{name} ({key})" if key != "" else name, fn, self._x, tests, probes)
                    for key, fn in settings.items()
                ),
                strict=True,
            )
            hides = any(found.hidden.any() for *_, found in looks)
            for kind in ("value", "gradient") if hides else ("whole",):
                variants = [
                    describe(fn, self._x, *seen, kind, layout, packer)
                    for fn, seen in zip(settings.values(), looks, strict=True)
                ]
                label = messages.EXPLORER[f"method_{kind}"].format(name=name)
                entries.append({"name": label, "settings": list(settings), "variants": variants})
                self._runs.append(runs)
        spec = {
            "shape": list(x.shape),
            "layout": list(layout),
            "axes": messages.AXES[layout],
            "x": packer.add(self._x.cpu().numpy(), "f8"),
            "tests": [packer.add(test.cpu().numpy(), "f8") for test in tests[:TRAVEL]],
            "methods": entries,
            "text": messages.EXPLORER,
        }
        super().__init__(spec=spec, data=packer.bytes(), **traits)

    @traitlets.observe("changes", "method", "setting", "asks")
    def _answer(self, _):
        """What the method makes of the changed input, for a browser that cannot tell."""
        if not (self.asks and self.changes):
            return
        runs, x = self._runs[self.method], self._x.clone()
        setting = min(self.setting, len(runs) - 1)
        question = {"method": self.method, "setting": setting, "changes": self.changes}
        for cell, value in self.changes.items():
            x.view(-1)[int(cell)] = value
        try:
            y = outputs_of(runs[setting], x)
        except (ValueError, TypeError) as error:
            self.answered = question | {"error": str(error)}
            return
        with self.hold_sync():
            self.answer = y.cpu().numpy().astype("<f8").tobytes()
            self.answered = question

    @traitlets.validate("changes")
    def _can_change(self, proposal):
        count = int(np.prod(self.spec["shape"]))
        for cell, value in proposal["value"].items():
            if not (str(cell).isdigit() and int(cell) < count and np.isfinite(value)):
                raise traitlets.TraitError(
                    f"changes[{cell!r}] = {value!r} cannot be: give {{flat index: number}}, with "
                    f"indices from 0 to {count - 1} and finite numbers"
                )
        return {str(cell): float(value) for cell, value in proposal["value"].items()}

    def _seen(self):
        """What is seen now: the entry, its setting and variant, and the kind of footprint."""
        entry = self.spec["methods"][self.method]
        setting = min(self.setting, len(entry["variants"]) - 1)
        variant = entry["variants"][setting]
        rows = variant["reaches" if self.question == "reaches" else "sees"]
        return entry, setting, variant, rows, unpack(self.data, rows["which"])[self.cell]

    def words(self):
        text, (entry, setting, _, rows, kind) = messages.STILL, self._seen()
        names = [self.spec["axes"][axis] for axis in self.spec["layout"]]
        index = np.unravel_index(self.cell, self.spec["shape"])
        method = [entry["name"], entry["settings"][setting]]
        place = [f"{name} {i}" for name, i in zip(names, index, strict=True)]
        sentence = text["cell"].format(
            method=" ".join(str(part) for part in method if part != ""),
            cell=", ".join(place),
            sentence=rows["text"][kind],
        )
        sheet = text["sheet"].format(row=names[0], column=names[1])
        methods = ", ".join(m["name"] for m in self.spec["methods"])
        return [sentence, sheet, text["explorer"].format(methods=methods)]

    def picture(self):
        """The contact sheet: the chosen cell in one colour, its footprint in another, all tinted
        by their values."""
        _, _, variant, rows, kind = self._seen()
        first, last = unpack(self.data, rows["offsets"])[kind : kind + 2]
        n, c, *rest = self.spec["shape"]
        positions = int(np.prod(rest))
        w = rest[1] if len(rest) == 2 else max(d for d in divisors(positions) if d * d <= positions)
        size, gap = max(3, min(18, 480 // (c * w))), 6
        hues, shares = np.tile(SOFT, (n * c * positions, 1)), np.zeros(n * c * positions)
        values = unpack(self.data, self.spec["x"] if self.values == "before" else variant["y"])
        low, high = np.nanquantile(np.where(np.isfinite(values), values, np.nan), [0.02, 0.98])
        level = np.clip((np.nan_to_num(values) - low) / ((high - low) or 1), 0, 1)
        shares[:] = level * 0.45 + 0.06
        seen = self.question != "reaches"
        for start, stop in unpack(self.data, rows["runs"])[first:last].reshape(-1, 2):
            hues[start:stop] = INPUT if seen else OUTPUT
            shares[start:stop] = level[start:stop] * 0.75 + 0.25
        hues[self.cell], shares[self.cell] = OUTPUT if seen else INPUT, 1
        cells = 255 - shares[:, None] * (255 - hues)
        tiles = cells.reshape(n, c, positions // w, w, 3).repeat(size, 2).repeat(size, 3)
        tiles[:, :, size - 1 :: size] = tiles[:, :, :, size - 1 :: size] = 255
        tiles = np.pad(tiles, [(0, 0)] * 2 + [(0, gap)] * 2 + [(0, 0)], constant_values=255)
        image = tiles.transpose(0, 2, 1, 3, 4).reshape(tiles.shape[0] * tiles.shape[2], -1, 3)
        return webp(Image.fromarray(image.round().astype(np.uint8))), self.words()[0]

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


def random_changes(x):
    """x with changes of the kinds that a reader makes, each somewhere."""
    draw, unit = np.random.default_rng(0), x.std(correction=0) or 1.0
    cell, other, example, channel = (int(draw.integers(n)) for n in (x.numel(),) * 2 + x.shape[:2])
    changed = x.repeat(5, *[1] * x.dim())
    changed[0].view(-1)[cell] += 6 * unit
    changed[1][example] *= 3
    changed[2][:, channel] += 2 * unit
    changed[3].view(-1)[other] -= unit / 4
    changed[4] += unit * torch.as_tensor(draw.normal(size=x.shape), device=x.device)
    return changed


def outputs_of(run, x):
    """What a function makes of x, in float64. Raises ValueError for another shape than x's."""
    y = run(x).detach().double()
    if y.shape != x.shape:
        raise ValueError(
            f"it returns shape {tuple(y.shape)} for input {tuple(x.shape)}: the explorer shows "
            "functions that keep the shape"
        )
    return y


def look(name, fn, x, tests, probes):
    """How to run one method, and what was seen of it: inputs (x, random ones, then the tests) and
    their outputs, both (inputs, *x.shape), and the footprint."""
    try:
        run, found = Runner(fn, x), examine(fn, x, probes=probes)
        inputs = torch.stack([x, *(run.probe(2 * i) for i in range(PROBES - 1)), *tests])
        outputs = torch.stack([outputs_of(run, one) for one in inputs])
    except Exception as error:
        raise ValueError(f"{name} fails here: {error}") from error
    return run, (inputs.cpu(), outputs.cpu(), found)


def describe(fn, x, inputs, outputs, found, kind, layout, packer):
    """What the browser needs of one method: both footprints, and the arithmetic on them."""
    hidden = found.hidden.any()
    mask = moved(fn, x) if hidden and kind == "value" else found.mask
    mask = mask.reshape(x.numel(), x.numel())
    which, first = number_rows(mask)
    eps = getattr(fn, "eps", 1e-5) or 0.0
    eps = float(eps) if isinstance(eps, numbers.Real) else 1e-5
    form, weight, bias, tests = recognise(fn, inputs, outputs, mask[first].numpy(), which, eps)
    verbs = ("gradient", "taught") if kind == "gradient" else ("uses", "moves")
    note = kind if hidden else "varies" if found.varies.any() else "whole"
    memory = [fn.running_mean, fn.running_var] if form == "running" else []
    return {
        "y": packer.add(outputs[0].numpy(), "f8"),
        "eps": eps,
        "formula": "standardise" if form == "running" else form,
        "weight": packer.add(shortest(weight), "f8"),
        "bias": packer.add(shortest(bias), "f8"),
        "memory": [packer.add(kept.cpu().numpy(), "f8") for kept in memory],
        "tests": [packer.add(test, "f8") for test in tests[:TRAVEL]],
        "note": f"note_{note}",
        "reach_note": f"reach_{note}",
        "sees": describe_rows(mask, x.shape, layout, verbs[0], packer),
        "reaches": describe_rows(mask.T, x.shape, layout, verbs[1], packer),
    }


def arithmetic(fn, x, sees, which, eps):
    """What each arithmetic that we know makes of the values in every footprint: {name: like x}.

    x: several inputs, (inputs, *shape). Where every output uses one value, only eval mode is known.
    """
    flat = x.flatten(1)
    cells = [flat[:, torch.as_tensor(row)] for row in sees]
    count = torch.tensor([row.sum() for row in sees])[which].view(x.shape[1:])
    if count.max() == 1:
        running = getattr(fn, "running_mean", None), getattr(fn, "running_var", None)
        if not all(getattr(r, "shape", None) == x.shape[2:3] for r in running):
            return {}
        mean, var = (r.cpu().double().view(-1, *[1] * (x.dim() - 3)) for r in running)
        return {"running": (x - mean) / (var + eps).sqrt()}
    mean = torch.stack([v.mean(1) for v in cells], 1)[:, which].view(x.shape)
    square = torch.stack([v.square().mean(1) for v in cells], 1)[:, which].view(x.shape)
    away = [(v - v.mean(1, keepdim=True)).square().mean(1) for v in cells]
    var = torch.stack(away, 1)[:, which].view(x.shape)
    return {
        "standardise": (x - mean) / (var + eps).sqrt(),
        "rms": x / (square + eps).sqrt(),
        "length": x / (square * count).sqrt(),
        "centre": x - mean,
    }


def recognise(fn, x, y, sees, which, eps):
    """Which arithmetic on each footprint gives the outputs: (name, weight, bias, outputs to test).

    x, y: inputs and outputs, (inputs, *shape). The arithmetic may be followed by a weight and a
    bias, per index of axis 1, of the last axis, or per element of an example. The first inputs
    tell the name, "mixture" where no arithmetic fits; the rest judge whether it holds for changes
    too, to 1e-5 of the outputs' deviation: where it does not there is nothing to test.
    """
    candidates = arithmetic(fn, x, sees, which, eps)
    shared = [], [a for a in range(x.dim()) if a != 2], list(range(x.dim() - 1)), [0, 1]
    for tolerance, axes, name in itertools.product((1e-8, 1e-4), shared, candidates):
        plain = candidates[name]
        weight, bias = fit(plain[:PROBES], y[:PROBES], axes)
        error = (weight * plain + bias - y).abs()
        if (error[:PROBES] <= tolerance * (y[:PROBES].std() + y[:PROBES].abs())).all():
            holds = (error[PROBES:] <= 1e-5 * y[0].std(correction=0)).all()
            return name, weight[0], bias[0], y[PROBES:].numpy() if holds else []
    nothing = torch.zeros(x.shape[1:], dtype=x.dtype)
    return "mixture", nothing, nothing, []


def fit(plain, y, axes):
    """The weight and bias, the same along `axes`, with which plain comes nearest to y: (1, ...)."""
    if not axes:
        return torch.ones_like(y[:1]), torch.zeros_like(y[:1])
    mean, middle = (t.mean(axes, keepdim=True) for t in (plain, y))
    square = (plain - mean).square().sum(axes, keepdim=True)
    weight = ((plain - mean) * (y - middle)).sum(axes, keepdim=True) / square
    return weight.expand_as(y[:1]), (middle - weight * mean).expand_as(y[:1])


def shortest(values):
    """The beginning of values that, repeated, gives all of them: one, a row, an example, or all."""
    flat, sizes = values.flatten(), (1, values.shape[-1], values[0].numel(), values.numel())
    return next(flat[:n] for n in sizes if (flat.view(-1, n) == flat[:n]).all()).numpy()


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
