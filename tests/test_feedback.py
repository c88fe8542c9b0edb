"""check() names mistakes and never raises for them; claim() computes its verdicts."""

import re

import numpy as np
import pytest
import torch

from normlib.feedback import check
from normlib.messages import CHECK


def centre(x):
    return x - x.mean(0)


def verdict_on(answer, **keywords):
    inputs = [torch.randn(5, 3), torch.randn(4, 2)]
    mistakes = {
        "You forgot the mean.": lambda x: x * 1.0 + 0.5,
        "That is the wrong axis.": lambda x: x - x.mean(1, keepdim=True),
    }
    return check(answer, centre, inputs=inputs, mistakes=mistakes, **keywords)


def test_a_right_function_passes_and_says_how_close():
    result = verdict_on(lambda x: x - x.sum(0) / len(x))
    assert result.passed
    assert "all 2 inputs" in result.title


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda x: x - x.mean(1, keepdim=True), "That is the wrong axis."),
        (lambda x: x, CHECK["unchanged"]),
        (lambda x: None, CHECK["nothing"]),
        (lambda x: ..., CHECK["nothing"]),
        (lambda x: x.mean(0), "The shape is (3,); expected (5, 3)"),
        (lambda x: 2 * (x - x.mean(0)), "2.0000 times the expected"),
        (lambda x: x - x.mean(0) + 3, "plus 3 everywhere"),
        (lambda x: (x - x.mean(0)).relu(), "The largest difference is"),
        (lambda x: x / 0 * 0, "NaN or infinite"),
        (lambda x: x.sub_(x.mean(0)), CHECK["touched"]),
        (lambda x: 3.0, "returned float"),
        (lambda x: (x, x), "returned tuple"),
        (lambda x: x.numpy().tolist(), "returned list"),
        (lambda x: x.long(), "torch.int64"),
        (lambda x: undefined, "NameError"),  # noqa: F821
        (lambda x: x @ x, "RuntimeError"),
        (lambda x: exit(), "SystemExit"),
        (lambda x: x.to_sparse(), "sparse"),
        (lambda: 1, "TypeError"),
        (None, CHECK["blank"]),
        (3, "not a function"),
    ],
)
def test_a_wrong_function_hears_why(answer, says):
    result = verdict_on(answer)
    assert not result.passed
    assert says in result.title


def test_double_precision_and_gradients_are_no_mistake():
    assert verdict_on(lambda x: centre(x.double())).passed
    assert verdict_on(lambda x: centre(x.requires_grad_())).passed


def test_a_right_answer_may_come_from_numpy():
    assert verdict_on(lambda x: x.numpy() - x.numpy().mean(0)).passed


def test_a_message_prints_the_digits_that_differ():
    title = verdict_on(lambda x: centre(x) * 1.00002).title
    mine, expected = re.search(r"you give (-?[\d.]+), expected (-?[\d.]+\d)\.", title).groups()
    assert mine != expected
    assert "1.0000 times" not in title


@pytest.mark.parametrize(
    "answer",
    [256, 256.0, torch.tensor(256), np.int64(256), torch.tensor([256.0]), np.array([[256]])],
)
def test_a_right_value_passes_in_any_type(answer):
    assert check(answer, 256, mistakes={"Four times that.": 64}).passed
    assert check(256 * (1 + 1e-7), 256).passed


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (64, "Four times that."),
        (7, "7 is not it."),
        (..., CHECK["blank"]),
        (None, CHECK["blank"]),
        ("256", "not it"),
        (True, "not it"),
        (float("nan"), "not it"),
        ([256], "not it"),
        (torch.zeros(3), "not it"),
        (10**400, "not it"),
        (1 + 2j, "not it"),
    ],
)
def test_a_wrong_value_hears_why(answer, says):
    result = check(answer, 256, mistakes={"Four times that.": 64})
    assert not result.passed
    assert says in result.title


def test_cards_escape_what_they_show():
    html = check("<script>", 1)._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize("right", [np.int64(3), np.float32(3), torch.tensor(3), torch.tensor(3.0)])
def test_the_right_number_may_come_as_an_array(right):
    assert check(3, right).passed
    assert not check(4, right).passed


def test_check_survives_mistakes_and_inputs_of_other_kinds():
    odd = {"double": lambda x: x.double(), "nothing": lambda x: None}
    result = check(lambda x: x + 1, lambda x: x, inputs=[torch.randn(3)], mistakes=odd)
    assert not result.passed
    assert not check(lambda n, x: x, lambda n, x: n * x, inputs=[(2, torch.randn(3))]).passed
