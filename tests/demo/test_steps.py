"""Steps are done once, again when their inputs or results change, and go on after an interruption."""

import pytest

from vl.demo.steps import Steps


@pytest.fixture
def world(tmp_path):
    made, calls = tmp_path / "made.txt", []

    def step(inputs, fail=False):
        def work():
            calls.append(made.read_text() if made.exists() else None)
            made.write_text(f"half {inputs}")
            if fail:
                raise KeyboardInterrupt
            made.write_text(f"whole {inputs}")

        Steps(tmp_path).once("step", {"a": inputs}, made, work)

    return step, made, calls


def test_done_once_and_again_when_inputs_or_results_change(world):
    step, made, calls = world
    for inputs in (1, 1, 2, 2):
        step(inputs)
    assert calls == [None, None]
    made.unlink()
    step(2)
    assert len(calls) == 3


def test_an_interrupted_step_finds_what_it_left_unless_its_inputs_changed(world):
    step, made, calls = world
    with pytest.raises(KeyboardInterrupt):
        step(1, fail=True)
    step(1)
    assert calls == [None, "half 1"]
    with pytest.raises(KeyboardInterrupt):
        step(2, fail=True)
    step(3)
    assert calls[2:] == [None, None]
    assert made.read_text() == "whole 3"


def test_tells_how_long_steps_took(world, tmp_path):
    world[0](1)
    assert Steps(tmp_path).seconds("step", "other") == {"step": 0.0, "other": None}
