"""The article on trial: its claims, weighed by what experiments show, on one docket."""

import html
import pathlib
import tomllib

from jupyter_core.paths import jupyter_data_dir

from normlib.messages import TRIAL

LEDGER = pathlib.Path(__file__).parent / "claims.toml"
RECORD = pathlib.Path(jupyter_data_dir()) / "normlib-verdicts.txt"  # of this machine
MOODS = {  # of a verdict: its sign and colour
    "holds": ("✓", "#1b7f4b"), "refuted": ("✗", "#b3261e"), "wrong": ("✗", "#b3261e"),
    "untried": ("?", "#8a929e"),
}  # fmt: skip
MIXED = "±", "#9a6700"
STYLE = pathlib.Path(__file__).with_name("docket.css").read_text("utf-8")


def ledger():
    """The article's claims, by id, as written in claims.toml."""
    return tomllib.loads(LEDGER.read_text("utf-8"))


def verdicts():
    """The verdict of every claim that has one, by id, as keys of the TRIAL messages.

    Claims that an experiment decides have the verdict that came out last on this machine; those
    that were never weighed here are missing.
    """
    entries = ledger()
    found = {id: entry["settled"] for id, entry in entries.items() if "settled" in entry}
    weighed = {id: verdict for id, verdict in recorded().items() if id in entries}
    return weighed | found


def recorded():
    """{key: what was written last} of this machine's record. One that cannot be read is empty."""
    try:
        lines = RECORD.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    return dict(line.split("\t") for line in lines if line.count("\t") == 1)


class Trial:
    """The claims of one part of the article, weighed one after the other; shown as a docket.

    sections: as in the ids of the claims, Trial("2.1") or Trial("1.1", "1.2"). Without any it is
    the trial of the whole article, with the verdicts that came out last on this machine.

    >>> trial = Trial("2.1")
    >>> trial.weigh("2.1-b", profile_steady=(ratio < 1.1, f"x {ratio:.2f}"), ...)
    >>> trial

    Raises ValueError for a section without claims.
    """

    def __init__(self, *sections):
        self.weighed, self.recorded = {}, {} if sections else verdicts()
        entries = ledger()
        everywhere = {id: _section(id, entry) for id, entry in entries.items()}
        self.sections = sections or tuple(dict.fromkeys(everywhere.values()))
        self.entries = {id: e for id, e in entries.items() if everywhere[id] in self.sections}
        if not self.entries:
            raise ValueError(f"the ledger has no claim of {sections}: see normlib/claims.toml")

    def weigh(self, id, **measured):
        """Decide a claim by its conditions in claims.toml, each True or False, or (bool, numbers).

        `supports` are what the claim leads one to expect, `limits` what restricts it: all supports
        and no limit make it hold; a limit makes it hold with a condition; some supports make it
        hold in part; none refutes it. Raises ValueError for an unknown id, for missing or unknown
        conditions, and for one that is not True or False.
        """
        if id not in self.entries:
            raise ValueError(f"no claim {id!r} on this trial: it has {', '.join(self.entries)}")
        supports, limits = (self.entries[id].get(kind, {}) for kind in ("supports", "limits"))
        if set(measured) != {*supports, *limits} or not measured:
            raise ValueError(
                f"claim {id} is decided by {sorted({*supports, *limits}) or 'its source alone'}, "
                f"got {sorted(measured)}"
            )
        found = {name: _measurement(id, name, value) for name, value in measured.items()}
        held = [found[name][0] for name in supports]
        if all(held):
            verdict = "condition" if any(found[name][0] for name in limits) else "holds"
        else:
            verdict = "partly" if any(held) else "refuted"
        self.weighed[id] = verdict, found
        record(id, verdict)

    def verdict(self, id):
        """A key of the TRIAL messages; "untried" for a claim that nothing has weighed yet."""
        found = self.weighed.get(id, (self.recorded.get(id, "untried"),))
        return self.entries[id].get("settled") or found[0]

    def evidence(self, id):
        """[(sign, condition, numbers)]: ✓ and ✗ for what supports it, "but" for a limit that is
        there; a limit that is not there has no sign."""
        entry, (_, found) = self.entries[id], self.weighed.get(id, ("", {}))
        return [
            (TRIAL[f"{kind}_{found[name][0]}"], words, found[name][1])
            for kind in ("supports", "limits")
            for name, words in entry.get(kind, {}).items()
            if name in found
        ]

    def summary(self, section=None):
        """How many claims have which verdict, in words: "17 claims: 1 holds, ..."."""
        here = (id for id, e in self.entries.items() if section in (None, _section(id, e)))
        reached = [self.verdict(id) for id in here]
        counts = [f"{reached.count(v)} {TRIAL[v]}" for v in TRIAL["order"] if v in reached]
        return TRIAL["summary"].format(count=len(reached), counts=", ".join(counts))

    def __repr__(self):
        lines = [f"{TRIAL['title']} {', '.join(self.sections)}. {self.summary()}"]
        for id, entry in self.entries.items():
            lines.append(f"{id}: {TRIAL[self.verdict(id)]}. {entry['claim']} {entry['truth']}")
            lines += [f"    {' '.join(part for part in one if part)}" for one in self.evidence(id)]
        return "\n".join(lines)

    def _repr_html_(self):
        title = TRIAL["whole"] if self.recorded else f"{TRIAL['title']} {', '.join(self.sections)}"
        parts = [f"<div><strong>{html.escape(title)}</strong> {html.escape(self.summary())}</div>"]
        reached = sorted((self.verdict(id) for id in self.entries), key=TRIAL["order"].index)
        shares = "".join(f'<i style="background:{_mood(v)[1]};flex:1"></i>' for v in reached)
        parts.append(f'<div class="nl-shares" aria-hidden="true">{shares}</div>')
        rows = {section: "" for section in self.sections}
        for id, entry in self.entries.items():
            verdict = self.verdict(id)
            lines = [
                f"{sign} {html.escape(text)} <b>{html.escape(numbers)}</b>"
                for sign, text, numbers in self.evidence(id)
            ]
            source = f"{TRIAL['source']}: {html.escape(entry['source'])}"
            claim, truth = html.escape(entry["claim"]), html.escape(entry["truth"])
            rows[_section(id, entry)] += (
                f"<details><summary><b>{_mood(verdict)[0]} {TRIAL[verdict]}</b>"
                f"<span>{claim} <em>{truth}</em></span></summary>"
                f"<ul>{''.join(f'<li>{item}</li>' for item in [*lines, source])}</ul></details>"
            )
        for section, inside in rows.items():
            head = f"<summary><b>{section}</b><span>{self.summary(section)}</span></summary>"
            parts.append(f"<details>{head}{inside}</details>" if self.recorded else inside)
        return f'<div class="nl-docket">{"".join(parts)}</div><style>{STYLE}</style>'


def _section(id, entry):
    return entry.get("section", id.rpartition("-")[0])


def _mood(verdict):
    return MOODS.get(verdict, MIXED)


def record(key, what):
    """Add a line to this machine's record, for notebook 5, which looks back at all notebooks."""
    try:
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        with RECORD.open("a", encoding="utf-8") as file:
            file.write(f"{key}\t{what}\n")
    except OSError:
        pass  # no place to write: notebook 5 will say that there is nothing


def _measurement(id, name, value):
    """A condition's outcome and its numbers; numpy's and torch's booleans count as booleans."""
    outcome, numbers = value if isinstance(value, tuple) else (value, "")
    outcome = outcome.item() if getattr(outcome, "ndim", None) == 0 else outcome
    if not isinstance(outcome, bool):
        raise ValueError(f"claim {id}: {name} must be True or False, got {outcome!r}")
    return outcome, numbers
