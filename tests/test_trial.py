"""The trial weighs what was measured, and its docket says neither more nor less."""

import re

import numpy as np
import pytest
import torch

from normlib import trial
from normlib.messages import TRIAL
from normlib.trial import Trial, ledger, verdicts

ENTRIES = ledger()
MEASURED = {i: e for i, e in ENTRIES.items() if "settled" not in e}


@pytest.fixture(autouse=True)
def record(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "RECORD", tmp_path / "new" / "verdicts.txt")


def trial_of(id):
    return Trial(ENTRIES[id].get("section", id.rpartition("-")[0]))


@pytest.mark.parametrize("id", ENTRIES)
def test_ledger_entries_are_complete(id):
    entry = ENTRIES[id]
    assert entry["claim"]
    assert entry["truth"]
    assert entry["source"]
    if id in MEASURED:
        assert entry["supports"]
        assert trial_of(id).verdict(id) == "untried"
    else:
        assert trial_of(id).verdict(id) == entry["settled"] in TRIAL["order"]


@pytest.mark.parametrize("id", MEASURED)
def test_opposite_measurements_give_the_opposite_verdict(id):
    supports, limits = (MEASURED[id].get(k, {}) for k in ("supports", "limits"))
    docket = trial_of(id)

    def verdict(support, limit):
        docket.weigh(id, **dict.fromkeys(supports, support), **dict.fromkeys(limits, limit))
        return docket.verdict(id)

    assert verdict(True, False) == "holds"
    assert verdict(False, True) == verdict(False, False) == "refuted"
    if limits:
        assert verdict(True, True) == "condition"
    if len(supports) > 1:
        first, *rest = supports
        mixed = {first: True} | dict.fromkeys(rest, False) | dict.fromkeys(limits, False)
        docket.weigh(id, **mixed)
        assert docket.verdict(id) == "partly"


def test_a_docket_shows_every_claim_and_what_was_measured():
    docket = Trial("1.1")
    docket.weigh(
        "1.1-c",
        training_between=np.bool_(True),
        test_leaves=(torch.tensor(True), "3 % of <them>"),
        outlier_squeezes=(True, "to 1 %"),
        constant_undefined=(False, "never"),
    )
    text, page = repr(docket), docket._repr_html_()
    assert text.startswith(
        "The article on trial: 1.1. 3 claims: 1 holds, 1 with a condition, 1 not weighed yet."
    )
    assert "✓ Every training column runs from 0 to 1." in text
    assert "but: One value 100 times too large squeezes the others to less than a tenth" in text
    assert "(not so here:) A constant column gives 0/0 by hand. never" in text
    assert page.count("<details>") == 3
    assert page.count("<summary>") == page.count("</summary>") == 3
    assert "3 % of &lt;them&gt;" in page
    assert "<script" not in page
    for sign in ("✓ holds", "± with a condition", "? not weighed yet"):
        assert f"<b>{sign}</b>" in page
    assert [len(set(re.findall(p, page))) for p in ("✓ Every", "✗")] == [1, 0]


def test_a_support_that_fails_is_crossed():
    docket = Trial("2.1")
    docket.weigh("2.1-k", batch_is_standardised=False, memory_is_unbiased=True)
    assert [sign for sign, *_ in docket.evidence("2.1-k")] == ["✗", "but:"]


@pytest.mark.parametrize(
    ("id", "measured", "says"),
    [
        ("9-z", {"a": True}, "no claim"),
        ("4.1-1", {"a": True}, "no claim '4.1-1' on this trial"),
        ("2.1-k", {}, "batch_is_standardised"),
        ("2.1-a", {"old": True}, "source alone"),
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
        Trial("2.1").weigh(id, **measured)


def test_a_section_without_claims_is_refused():
    with pytest.raises(ValueError, match="no claim of"):
        Trial("7.3")


def test_verdicts_are_remembered_and_the_last_one_counts():
    cited = {id for id, entry in ledger().items() if "settled" in entry}
    assert set(verdicts()) == cited
    docket = Trial("3.2")
    docket.weigh("3.2-c", memory_grows=True)
    assert verdicts()["3.2-c"] == "holds"
    docket.weigh("3.2-c", memory_grows=False)
    assert verdicts()["3.2-c"] == "refuted"
    with trial.RECORD.open("a") as file:
        file.write("half a li\nno-such-claim\tholds\n4.7-1\tholds\n")
    assert set(verdicts()) == cited | {"3.2-c"}
    assert verdicts()["4.7-1"] == "wrong"


def test_a_place_that_cannot_be_written_does_not_stop_a_trial(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(trial, "RECORD", tmp_path / "file" / "verdicts.txt")
    docket = Trial("3.2")
    docket.weigh("3.2-c", memory_grows=False)
    assert docket.verdict("3.2-c") == "refuted"
