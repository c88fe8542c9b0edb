"""Predict: say what will happen, lock it, and only then see what does."""

import traitlets

from normlib import messages
from normlib.widgets._base import Widget, source


class Predict(Widget):
    """A question to answer before the experiment. Nothing is revealed until a choice is locked.

    question: a sentence. options: two or more different strings.

    >>> guess = Predict("Which trains faster?", ["with Batch Norm", "without"])
    >>> guess.reveal("with Batch Norm", because="Accuracy after one epoch: 0.94 against 0.71.")

    Put `guess` at the end of one cell, and `guess.reveal(...)` at the end of the cell that has
    measured the answer: it shows the same widget again, there.
    Traits: `choice` (index or -1), `locked`, `answer` (index or -1).
    """

    _esm = source("js", "predict")
    _css = source("css", "predict")
    redo = ("locked", "answer", "because")

    question = traitlets.Unicode().tag(sync=True)
    options = traitlets.List(traitlets.Unicode()).tag(sync=True)
    text = traitlets.Dict().tag(sync=True)
    choice = traitlets.Int(-1).tag(sync=True)
    locked = traitlets.Bool(False).tag(sync=True)
    answer = traitlets.Int(-1).tag(sync=True)
    because = traitlets.Unicode("").tag(sync=True)

    def __init__(self, question, options):
        options = list(options)
        if len(options) < 2:
            raise ValueError(f"a prediction needs at least two options, got {len(options)}")
        if len(set(options)) < len(options):
            raise ValueError(f"the options must differ from each other, got {options}")
        super().__init__(question=question, options=options, text=messages.PREDICT)

    def words(self):
        text, shown = self.text, self.locked and self.answer >= 0
        yours, measured = self.choice if self.locked else -1, self.answer if shown else -1
        marks = {yours: text["yours"], measured: text["measured"]} | (
            {yours: f"{text['yours']}, {text['measured']}"} if yours == measured else {}
        )
        options = [
            f"- {option} ({marks[i]})" if i in marks else f"- {option}"
            for i, option in enumerate(self.options)
        ]
        chosen, answer = self.options[yours], self.options[measured]
        if shown:
            form = "right" if yours == measured else "wrong"
            status = f"{text[form].format(choice=chosen, answer=answer)} {self.because}".strip()
        else:
            status = text["locked"].format(choice=chosen) if self.locked else ""
        return [
            f"{text['label']}: {self.question}",
            *options,
            status or messages.STILL["predict"],
        ]

    def reveal(self, answer, because=""):
        """Hand over the measured answer; it shows once a choice is locked. Returns the widget.

        Raises ValueError when `answer` is not one of the options.
        """
        if answer not in self.options:
            raise ValueError(f"{answer!r} is not one of the options {self.options}")
        self.because = because
        self.answer = self.options.index(answer)
        return self

    @traitlets.validate("choice")
    def _choice_exists(self, proposal):
        if self.locked and proposal["value"] != self.choice:
            raise traitlets.TraitError("the answer is locked and cannot be changed")
        if not -1 <= proposal["value"] < len(self.options):
            raise traitlets.TraitError(f"choose 0 to {len(self.options) - 1}")
        return proposal["value"]

    @traitlets.validate("locked")
    def _stays_locked(self, proposal):
        if self.locked and not proposal["value"]:
            raise traitlets.TraitError("a locked answer stays locked")
        if proposal["value"] and self.choice < 0:
            raise traitlets.TraitError("choose an option before locking")
        return proposal["value"]
