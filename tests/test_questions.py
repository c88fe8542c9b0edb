"""The questions before and after the course, and what a teacher reads of them."""

import nbformat
import pytest

from normlib import trial
from normlib.questions import Questions, asked
from tools.answers import collected, main, table


@pytest.fixture(autouse=True)
def no_record(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "RECORD", tmp_path / "record.txt")


def lock(questions, option):
    for guess in questions.guesses.values():
        guess.choice, guess.locked = option, True


def measured(at):
    return {id: entry["options"][at] for id, entry in asked().items()}


def test_eight_questions_with_different_options_and_words():
    questions = Questions("before")
    assert len(questions.guesses) == 8
    labels = [guess.text["label"] for guess in questions.guesses.values()]
    assert labels[0] == "Question 1 of 8"
    assert len(set(labels)) == 8
    assert all("5" in guess.text["locked"] for guess in questions.guesses.values())


def test_answers_before_and_after_stand_beside_what_was_measured():
    lock(Questions("before"), 0)
    after = Questions("after")
    lock(after, 1)
    answers = after.compare(measured(1)).answers
    for id, entry in asked().items():
        first, second = entry["options"][:2]
        assert answers[id] == {"before": first, "after": second, "measured": second}
        assert after.guesses[id].answer == 1


def test_what_was_not_locked_is_said_to_be_so():
    after = Questions("after")
    after.guesses["scale"].choice = 1  # chosen, not locked
    result = after.compare(measured(0))
    assert {a["after"] for a in result.answers.values()} == {None}
    assert repr(result).count("not locked") == 16
    page = result._repr_mimebundle_()["text/html"]
    assert page.startswith("<details><summary>")


def test_a_record_that_cannot_be_read_is_as_good_as_none():
    trial.RECORD.write_bytes(b"\xff\xfe\x00broken")
    assert trial.recorded() == {}
    lock(Questions("before"), 0)  # writes after what is broken
    trial.RECORD.unlink()
    trial.RECORD.mkdir()
    lock(Questions("before"), 0)
    assert trial.recorded() == {}


def test_bad_input_gets_a_sentence():
    with pytest.raises(ValueError, match='"before" or "after"'):
        Questions("later")
    with pytest.raises(ValueError, match="measure"):
        Questions("after").compare({"count": "64"})
    with pytest.raises(ValueError, match="not one of the options"):
        Questions("after").compare(measured(0) | {"count": "65"})


def handed_in(folder, name, before, after):
    questions = Questions("after")
    trial.RECORD.unlink(missing_ok=True)
    lock(Questions("before"), before)
    if after is not None:
        lock(questions, after)
    data = questions.compare(measured(1))._repr_mimebundle_()
    output = nbformat.v4.new_output("display_data", data)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(outputs=[output])])
    (folder / name).mkdir()
    nbformat.write(notebook, folder / name / "05_conclusion.ipynb")


def test_a_teacher_reads_a_folder_of_handed_in_notebooks(tmp_path):
    folder = tmp_path / "class"
    folder.mkdir()
    assert "no notebook" in main(folder)
    handed_in(folder, "ann", 0, 1)
    handed_in(folder, "bob", 1, 0)
    handed_in(folder, "cho", 0, None)
    students = collected(folder)
    assert len(students) == 3
    line = table(list(students.values())).splitlines()[2]
    assert "1 of 3 | 1 of 2 | 64 (1)" in line
    assert main(folder).startswith("students: 3")


def test_a_broken_file_is_named_and_a_copy_that_jupyterlab_keeps_does_not_count(tmp_path):
    handed_in(tmp_path, "ann", 0, 1)
    handed_in(tmp_path, ".ipynb_checkpoints", 1, 1)
    (tmp_path / "bob.ipynb").write_text("{", "utf-8")
    lines = main(tmp_path).splitlines()
    assert lines[0] == "students: 1"
    assert lines[-1].endswith("bob.ipynb cannot be read as a notebook")
