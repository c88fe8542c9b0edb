"""The self-check compares what is installed with the pins and says what to do."""

from normlib import environment
from normlib.environment import LAB, NEEDED, pins, self_check


def test_this_environment_is_ready():
    assert self_check().mood == "good"


def test_the_pins_cover_what_is_needed():
    assert {*NEEDED, *LAB} <= set(pins())


def test_a_missing_package_is_named_with_the_remedy():
    card = self_check(lambda name: None if name == "anywidget" else environment.installed(name))
    assert card.mood == "bad"
    assert "anywidget is not installed." in card.lines
    assert "pip install -r requirements.txt" in card.lines[-1]


def test_another_version_is_named():
    card = self_check(pinned={"torch": {"1.0"}})
    assert card.mood == "mixed"
    assert any("torch is" in line and "1.0" in line for line in card.lines)


def test_without_pins_only_presence_counts(tmp_path):
    assert pins(tmp_path / "none.txt") == {}
    assert self_check(pinned={}).mood == "good"


def test_a_service_with_an_interface_of_its_own_needs_no_jupyterlab():
    def there(name):
        return None if name.startswith("jupyterlab") else environment.installed(name)

    assert self_check(there, pinned={}).mood == "good"
    assert self_check(there).mood == "bad"
