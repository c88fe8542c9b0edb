"""What an interrupted cell leaves behind is refused, until the cell has run to its end."""

import time

import jupyter_client
import pytest

from normlib.widgets.stopped import Stopped, assigned

FILL = "runs, total = {}, 0\nfor n in progress(range(40)):\n    runs[n] = n\n    time.sleep(PAUSE)"


def test_what_a_cell_assigns_is_found():
    source = "a, (b, *c) = f()\nfor d in x:\n    e[d] = 1\ndef g():\n    h = 1\nwith o() as i: pass"
    assert assigned(source) == {"a", "b", "c", "d", "i"}
    assert assigned("%matplotlib inline") == set()


@pytest.mark.parametrize(
    "use",
    [
        lambda x: x[0], lambda x: x.mean(), lambda x: len(x), lambda x: list(x), lambda x: x + 1,
        lambda x: 2 * x, lambda x: x > 1, lambda x: bool(x), lambda x: f"{x:.2f}", lambda x: x(),
        lambda x: sum(x), lambda x: float(x), lambda x: 1 in x, lambda x: x == 1,
    ],
)  # fmt: skip
def test_any_use_is_refused_with_a_sentence(use):
    with pytest.raises(RuntimeError, match="runs is from a cell that was interrupted"):
        use(Stopped("runs"))
    assert "run that cell again" in repr(Stopped("runs"))


@pytest.mark.notebooks
def test_a_reveal_from_an_interrupted_run_is_refused_until_it_is_whole():
    manager, client = jupyter_client.manager.start_new_kernel()

    # After an error a kernel drops what is waiting, unless told not to: here the next request.
    go_on = {"stop_on_error": False}

    def run(source):
        found = []
        client.execute_interactive(
            source, output_hook=lambda m: found.append(m["content"]), timeout=60, **go_on
        )
        return "".join(str(c.get("evalue") or c.get("text") or "") for c in found)

    try:
        run("import time\nfrom normlib.widgets import Predict, progress\nPAUSE, before = 0, 1")
        run("guess = Predict('?', ['few', 'many'])")
        reveal = "guess.reveal('many' if len(runs) > 20 else 'few'); print('revealed')"
        run("PAUSE = 0.3")
        client.execute(FILL, **go_on)
        while "progress" not in client.get_iopub_msg(timeout=60)["content"].get("code", ""):
            pass
        time.sleep(1)  # a few rounds
        manager.interrupt_kernel()
        while client.get_shell_msg(timeout=60)["content"].get("ename") != "KeyboardInterrupt":
            pass
        assert "runs is from a cell that was interrupted" in run(reveal)
        assert run("print(before)") == "1\n"  # other cells keep what they have
        run("PAUSE = 0")
        run(FILL)
        assert "revealed" in run(reveal)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
