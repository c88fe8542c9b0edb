"""Eight questions, asked before the course and again after it, beside what was measured."""

import html
import pathlib
import tomllib

from IPython.display import display

from normlib import trial
from normlib.messages import QUESTIONS
from normlib.widgets import Predict

ASKED = pathlib.Path(__file__).with_name("questions.toml")
ANSWERS = "application/vnd.normlib.answers+json"  # what a teacher's command reads


def asked():
    """The questions and their options, by id, as written in questions.toml."""
    return tomllib.loads(ASKED.read_text("utf-8"))


class Questions:
    """All questions at the end of a cell. What is locked is kept on this machine.

    when: "before" or "after" the course. `compare` shows both, and what was measured.
    """

    def __init__(self, when):
        if when not in ("before", "after"):
            raise ValueError(f'questions are asked "before" or "after" the course, got {when!r}')
        self.guesses = {id: Predict(**entry) for id, entry in asked().items()}
        for number, (id, guess) in enumerate(self.guesses.items(), 1):
            label = QUESTIONS["label"].format(number=number, count=len(self.guesses))
            later = {"locked": QUESTIONS["later"]} if when == "before" else {}
            guess.text = {**guess.text, "label": label, **later}
            guess.observe(lambda change, key=f"{when}-{id}": _keep(key, change.owner), "locked")

    def _ipython_display_(self, **kwargs):
        display(*self.guesses.values())

    def compare(self, measured):
        """Reveal {id: answer} of every question to whoever has locked it; returns the table."""
        if set(measured) != set(self.guesses):
            raise ValueError(f"measure {sorted(self.guesses)}, got {sorted(measured)}")
        for id, guess in self.guesses.items():
            guess.reveal(measured[id])
        return Comparison(measured)


class Comparison:
    """What you said before the course and after it, and what was measured, as a table.

    answers: {id: {"before": text or None, "after": text or None, "measured": text}}.
    """

    def __init__(self, measured):
        said = trial.recorded()
        self.answers = {
            id: {when: said.get(f"{when}-{id}") for when in ("before", "after")} | {"measured": a}
            for id, a in measured.items()
        }

    def __repr__(self):
        return "\n".join("\n    ".join(row) for row in self._rows())

    def _rows(self):
        for id, entry in asked().items():
            said = {QUESTIONS[k]: v or QUESTIONS["none"] for k, v in self.answers[id].items()}
            yield [entry["question"], *(f"{who}: {what}" for who, what in said.items())]

    def _repr_mimebundle_(self, **kwargs):
        rows = (
            f"<li>{html.escape(question)}<ul>"
            + "".join(f"<li>{html.escape(line)}</li>" for line in said)
            + "</ul></li>"
            for question, *said in self._rows()
        )
        page = f"<details><summary>{QUESTIONS['open']}</summary><ol>{''.join(rows)}</ol></details>"
        return {"text/plain": repr(self), "text/html": page, ANSWERS: self.answers}


def _keep(key, guess):
    trial.record(key, guess.options[guess.choice])
