"""Answers to the student: `check` for exercises."""

import html

import numpy as np
import torch

from normlib.messages import CHECK

MOODS = {"good": "#1b7f4b", "mixed": "#9a6700", "bad": "#b3261e"}  # border colours


class Card:
    """A short text with a title and a mood, shown in a notebook as a coloured card.

    found: what code may ask of it, such as `passed` and `mistakes` of a check.
    """

    def __init__(self, title, lines, mood, **found):
        self.title, self.lines, self.mood = title, lines, mood
        vars(self).update(found)

    def __repr__(self):
        return "\n".join([self.title, *(f"  {text}" for text in self.lines)])

    def _repr_html_(self):
        color = MOODS[self.mood]
        body = "".join(f'<div style="margin-top:4px">{html.escape(t)}</div>' for t in self.lines)
        return (
            f'<div role="status" style="border:1px solid {color};border-left:6px solid {color};'
            "border-radius:6px;max-width:760px;padding:8px 14px;font-size:14px;line-height:1.45;"
            'color:var(--jp-ui-font-color1,#1f2430);background:var(--jp-layout-color0,#fff)">'
            f"<strong>{html.escape(self.title)}</strong>{body}</div>"
        )


def check(answer, expected, *, inputs=None, mistakes=None, tolerance=1e-5):
    """Compare an exercise's answer with the expected one, and name the mistake if it is known.

    With `inputs` (a list of tensors, or of tuples of arguments), `answer` and `expected` are
    functions and are compared on each. Without, both are plain values.
    mistakes: {message: wrong function or value}. An answer that agrees with a wrong one on every
    input gets its message. Anything else is told how far off it is. Never raises for a wrong
    answer: the notebook runs on.
    """
    mistakes = mistakes or {}
    if inputs is None:
        passed, detail = _check_value(answer, expected, mistakes)
    else:
        inputs = [case if isinstance(case, tuple) else (case,) for case in inputs]
        passed, detail = _check_function(answer, expected, inputs, mistakes, tolerance)
    title = CHECK["pass" if passed else "fail"].format(detail=detail)
    return Card(title, [], "good" if passed else "bad", passed=passed, mistakes=mistakes)


def _check_value(answer, expected, mistakes):
    answer = _unwrapped(answer)
    if answer is ... or answer is None:
        return False, CHECK["blank"]
    if _same_value(answer, expected):
        return True, CHECK["value_equal"].format(value=answer)
    for message, wrong in mistakes.items():
        if _same_value(answer, wrong):
            return False, message
    return False, CHECK["value_off"].format(value=answer)


def _unwrapped(value):
    """The number in a tensor or array of one element, with any number of axes."""
    return value.item() if np.prod(getattr(value, "shape", (0,)), dtype=int) == 1 else value


def _same_value(a, b):
    b = _unwrapped(b)
    numbers = (int, float)
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, numbers) and isinstance(b, numbers):
        return a == b or (float in (type(a), type(b)) and b - 1e-3 <= a <= b + 1e-3)
    if isinstance(a, str) and isinstance(b, str):
        return a.strip().lower() == b.strip().lower()
    return type(a) is type(b) and not isinstance(a, torch.Tensor) and bool(a == b)


def _check_function(answer, expected, inputs, mistakes, tolerance):
    if answer is ... or answer is None:
        return False, CHECK["blank"]
    if not callable(answer):
        return False, CHECK["not_function"].format(kind=type(answer).__name__)
    got_all = []
    right = [expected(*_clones(case)).cpu() for case in inputs]
    for case, want in zip(inputs, right, strict=True):
        mine = _clones(case)
        shape = tuple(getattr(case[0], "shape", ()))
        try:
            got = answer(*mine)
        except (Exception, SystemExit) as error:
            text = f"{type(error).__name__}: {error}"
            return False, CHECK["raised"].format(shape=shape, error=text)
        got = torch.as_tensor(got) if isinstance(got, (np.ndarray, np.generic)) else got
        problem = _problem(got, want, case, mine)
        if problem:
            return False, problem
        got_all.append(got.detach().to(want))
    if _agree(got_all, right, tolerance):
        worst = max((g - w).abs().max().item() for g, w in zip(got_all, right, strict=True))
        return True, CHECK["all_equal"].format(count=len(inputs), error=worst)
    for message, wrong in mistakes.items():
        try:
            if _agree(got_all, [wrong(*_clones(case)).cpu() for case in inputs], tolerance):
                return False, message
        except Exception:  # this mistake is impossible on these inputs
            continue
    first = [case[0] for case in inputs]
    if all(
        isinstance(f, torch.Tensor) and torch.equal(g, f.cpu())
        for g, f in zip(got_all, first, strict=True)
    ):
        return False, CHECK["unchanged"]
    pairs = zip(got_all, right, strict=True)
    bad = next(pair for pair in pairs if not _agree(*([one] for one in pair), tolerance))
    return False, _how_far(*bad, tolerance)


def _clones(case):
    return [c.clone() if isinstance(c, torch.Tensor) else c for c in case]


def _agree(got, want, tolerance):
    return all(
        g.shape == w.shape and torch.allclose(g, w, rtol=tolerance, atol=tolerance)
        for g, w in zip(got, want, strict=True)
    )


def _problem(got, want, case, mine):
    """The sentence for a result that cannot be compared, or None."""
    if got is None or got is ...:
        return CHECK["nothing"]
    if not isinstance(got, torch.Tensor) or got.layout != torch.strided:
        kind = f"{got.layout} tensor" if isinstance(got, torch.Tensor) else type(got).__name__
        return CHECK["not_tensor"].format(kind=kind)
    if not got.is_floating_point():
        return CHECK["not_floating"].format(dtype=got.dtype)
    tensors = [(a, b) for a, b in zip(case, mine, strict=True) if isinstance(a, torch.Tensor)]
    if any(not torch.equal(a, b) for a, b in tensors):
        return CHECK["touched"]
    if got.shape != want.shape:
        return CHECK["shape"].format(got=tuple(got.shape), expected=tuple(want.shape))
    if not got.isfinite().all():
        return CHECK["not_finite"].format(count=int((~got.isfinite()).sum()))
    return None


def _how_far(got, want, tolerance):
    """How wrong an unrecognised answer is, in numbers."""
    difference = (got - want).abs()
    flat = int(difference.argmax())
    index = tuple(int(i) for i in torch.unravel_index(torch.tensor(flat), got.shape))
    agree = torch.isclose(got, want, rtol=tolerance, atol=tolerance).float().mean().item()
    pair = got.reshape(-1)[flat].item(), want.reshape(-1)[flat].item()
    digits = next((d for d in range(4, 17) if f"{pair[0]:.{d}f}" != f"{pair[1]:.{d}f}"), 17)
    mine, expected = (f"{value:.{digits}f}" for value in pair)  # so many that they differ
    text = CHECK["off"].format(
        error=difference.max().item(), index=index, share=agree, got=mine, expected=expected
    )
    if got.numel() > 1:
        shift = (got - want).mean()
        ratio = (got * want).sum() / want.square().sum().clamp_min(1e-30)
        if torch.allclose(got, want + shift, atol=tolerance, rtol=tolerance):
            text += " " + CHECK["shifted"].format(shift=shift.item())
        elif torch.allclose(got, want * ratio, atol=tolerance, rtol=tolerance) and (
            abs(ratio - 1) > 5e-5
        ):
            text += " " + CHECK["scaled"].format(ratio=ratio.item())
    return text
