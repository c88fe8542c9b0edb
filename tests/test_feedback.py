"""check() names mistakes and never raises for them; claim() computes its verdicts."""

import numpy as np
import pytest
import torch

from normlib import feedback
from normlib.feedback import check, claim, ledger, verdicts
from normlib.messages import CHECK, CLAIM


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
        (lambda x: x - x.mean(0) + 3, "plus 3.0000 everywhere"),
        (lambda x: (x - x.mean(0)).relu(), "The largest difference is"),
        (lambda x: x / 0 * 0, "NaN or infinite"),
        (lambda x: x.sub_(x.mean(0)), CHECK["touched"]),
        (lambda x: 3.0, "returned float"),
        (lambda x: (x, x), "returned tuple"),
        (lambda x: x.numpy(), "returned ndarray"),
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


@pytest.mark.parametrize("answer", [256, 256.0, torch.tensor(256), np.int64(256)])
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


ENTRIES = ledger()
MEASURED = {i: e for i, e in ENTRIES.items() if "settled" not in e}


@pytest.mark.parametrize("id", ENTRIES)
def test_ledger_entries_are_complete(id):
    entry = ENTRIES[id]
    assert entry["claim"]
    assert entry["truth"]
    assert entry["source"]
    if id in MEASURED:
        assert entry["supports"]
    else:
        assert f"cited_{entry['settled']}" in CLAIM
        assert claim(id).verdict == f"cited_{entry['settled']}"
        assert CLAIM["citation"] in claim(id).lines


@pytest.mark.parametrize("id", MEASURED)
def test_opposite_measurements_give_the_opposite_verdict(id):
    supports, limits = (MEASURED[id].get(k, {}) for k in ("supports", "limits"))

    def verdict(support, limit):
        return claim(id, **dict.fromkeys(supports, support), **dict.fromkeys(limits, limit)).verdict

    assert verdict(True, False) == "holds"
    assert verdict(False, True) == verdict(False, False) == "refuted"
    if limits:
        assert verdict(True, True) == "condition"
    if len(supports) > 1:
        first, *rest = supports
        mixed = {first: True} | dict.fromkeys(rest, False) | dict.fromkeys(limits, False)
        assert claim(id, **mixed).verdict == "partly"


def test_a_card_shows_what_was_measured():
    card = claim("2.1-o", decay_does_nothing_clean=(True, "0.1"), decay_does_nothing_noisy=False)
    assert any("Yes (0.1)" in line for line in card.lines)
    assert CLAIM["partly"] in card.title
    assert claim(
        "2.1-k", batch_is_standardised=np.bool_(True), memory_is_unbiased=torch.tensor(True)
    )


@pytest.mark.parametrize(
    ("id", "measured", "says"),
    [
        ("9-z", {}, "no claim"),
        ("2.1-o", {}, "decay_does_nothing_clean"),
        ("2.1-a", {"old": True}, "citation alone"),
        ("2.1-k", {"batch_is_standardised": 1, "memory_is_unbiased": True}, "True or False"),
        (
            "2.1-k",
            {"batch_is_standardised": np.array([True, True]), "memory_is_unbiased": True},
            "batch_is_standardised must be True or False",
        ),
    ],
)
def test_a_claim_without_its_conditions_is_refused(id, measured, says):
    with pytest.raises(ValueError, match=says):
        claim(id, **measured)


def test_verdicts_are_remembered_and_the_last_one_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(feedback, "RECORD", tmp_path / "new" / "verdicts.txt")
    cited = {id for id, entry in ledger().items() if "settled" in entry}
    assert set(verdicts()) == cited
    claim("4.5-7", memory_grows=True)
    assert verdicts()["4.5-7"] == "holds"
    claim("4.5-7", memory_grows=False)
    assert verdicts()["4.5-7"] == "refuted"
    with feedback.RECORD.open("a") as file:
        file.write("half a li\nno-such-claim\tholds\n4.7-1\tholds\n")
    assert set(verdicts()) == cited | {"4.5-7"}
    assert verdicts()["4.7-1"] == "cited_wrong"


def test_a_place_that_cannot_be_written_does_not_stop_a_claim(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(feedback, "RECORD", tmp_path / "file" / "verdicts.txt")
    assert claim("4.5-7", memory_grows=False).verdict == "refuted"


@pytest.mark.parametrize("right", [np.int64(3), np.float32(3), torch.tensor(3), torch.tensor(3.0)])
def test_the_right_number_may_come_as_an_array(right):
    assert check(3, right).passed
    assert not check(4, right).passed


def test_check_survives_mistakes_and_inputs_of_other_kinds():
    odd = {"double": lambda x: x.double(), "nothing": lambda x: None}
    result = check(lambda x: x + 1, lambda x: x, inputs=[torch.randn(3)], mistakes=odd)
    assert not result.passed
    assert not check(lambda n, x: x, lambda n, x: n * x, inputs=[(2, torch.randn(3))]).passed
