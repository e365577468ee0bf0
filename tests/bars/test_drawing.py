from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from dpod_search.bars.drawing import Bars


def work(bars):
    with bars:
        bars.start("train", 10, 4)
        for _ in range(3):
            bars.advance(2, "loss 0.5")
        bars.finish()
        bars.start("search", 3)
        bars.advance()
        bars.finish()


def draw(*, is_terminal, is_quiet):
    text = StringIO()
    work(Bars(Console(file=text, force_terminal=is_terminal, width=120), is_quiet=is_quiet))
    return text.getvalue()


def test_a_terminal_gets_a_bar_for_each_task():
    text = draw(is_terminal=True, is_quiet=False)
    for part in ("train", "10/10", "search", "1/3", "loss 0.5"):
        assert part in text


def test_no_terminal_gets_a_line_for_each_task():
    lines = draw(is_terminal=False, is_quiet=False).splitlines()
    assert [line.rsplit(" ", 2)[0] for line in lines] == ["train: 10 of 10", "search: 1 of 3"]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_task_with_nothing_to_do_leaves_nothing(is_terminal):
    text = StringIO()
    with Bars(Console(file=text, force_terminal=is_terminal, width=120)) as bars:
        bars.start("search", 3, 3)
        bars.finish()
        bars.start("finetune", 2)
        bars.advance(2)
        bars.finish()
    assert "finetune" in text.getvalue()
    assert "search: " not in text.getvalue()
    assert [task.description for task in bars._bars.tasks] == ["finetune"]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_quiet_draws_nothing(is_terminal):
    assert draw(is_terminal=is_terminal, is_quiet=True) == ""


def test_calls_outside_a_task_do_nothing():
    text = StringIO()
    bars = Bars(Console(file=text))
    bars.advance()
    bars.finish()
    assert text.getvalue() == ""


def test_a_task_that_ends_while_it_is_drawn_has_a_time_left():
    class Emptied(list):
        """Is empty after the first look, as for another thread that looks again."""

        def __iter__(self):
            held = [*super().__iter__()]
            self.clear()
            return iter(held)

    bars = Bars(Console(file=StringIO()))
    bars.start("train", 4)
    task = bars._open[0]
    bars._open = Emptied([task])
    bars._bars.remove_task(task.id)
    assert bars._tell_left(task.id) == "-:--:--"


def test_an_error_stops_the_drawing():
    bars = Bars(Console(file=StringIO(), force_terminal=True))
    with pytest.raises(ZeroDivisionError), bars:
        bars.start("train", 1 // 0)
    assert not bars._bars.live.is_started


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def read_left(bars):
    return [bars._tell_left(bar.id) for bar in bars._bars.tasks]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_time_left_of_a_task_does_not_count_what_was_spent_inside_it(is_terminal):
    clock, text = Clock(), StringIO()
    bars = Bars(Console(file=text, force_terminal=is_terminal, width=120), clock=clock)
    with bars:
        bars.start("train", 100)
        for _ in range(10):
            clock.now += 1
            bars.advance()
        assert read_left(bars) == ["0:01:30"]
        bars.start("path 3 of 14: scoring", 4)
        for _ in range(4):
            clock.now += 120
            bars.advance()
        shown = [(bar.description, bar.completed, bar.total) for bar in bars._bars.tasks]
        assert shown == [("train", 10, 100), ("path 3 of 14: scoring", 4, 4)]
        bars.finish()
        assert [bar.description for bar in bars._bars.tasks] == ["train"]
        clock.now += 1
        bars.advance()
        assert read_left(bars) == ["0:01:29"]
        bars.finish()
    if not is_terminal:
        assert text.getvalue() == "train: 11 of 100 491.0 s\n"


def test_the_time_left_follows_a_step_that_becomes_dearer():
    clock = Clock()
    bars = Bars(Console(file=StringIO()), clock=clock)
    bars.start("train", 200)
    for seconds in (1, 3):
        for _ in range(50):
            clock.now += seconds
            bars.advance()
    assert read_left(bars) == ["0:05:00"]


def test_a_total_that_was_a_guess_is_never_passed():
    bars = Bars(Console(file=StringIO()))
    bars.start("path 2 of 3: scoring", 2)
    for _ in range(3):
        bars.advance()
    assert [(bar.completed, bar.total) for bar in bars._bars.tasks] == [(3, 3)]


def test_the_time_left_is_told_of_units_that_take_longer_than_is_looked_back():
    clock = Clock()
    bars = Bars(Console(file=StringIO()), clock=clock)
    bars.start("finetune", 5)
    assert read_left(bars) == ["-:--:--"]
    for _ in range(3):
        clock.now += 100
        bars.advance()
    assert read_left(bars) == ["0:03:20"]


def test_the_time_left_runs_down_while_a_unit_takes_its_time_and_is_none_when_it_is_over():
    clock = Clock()
    bars = Bars(Console(file=StringIO()), clock=clock)
    bars.start("finetune", 4)
    for _ in range(2):
        clock.now += 60
        bars.advance()
    for waited, told in ((30, "0:01:30"), (30, "0:01:00"), (61, "-:--:--")):
        clock.now += waited
        assert read_left(bars) == [told]
    bars.finish()
    assert read_left(bars) == ["-:--:--"]


def test_a_few_trials_that_are_pruned_at_once_do_not_promise_an_early_end():
    clock = Clock()
    bars = Bars(Console(file=StringIO()), clock=clock)
    bars.start("search", 30)
    for _ in range(10):
        clock.now += 40  # evaluated
        bars.advance()
        clock.now += 0.1  # pruned
        bars.advance()
    (left,) = read_left(bars)
    hours, minutes, seconds = map(int, left.split(":"))
    assert hours == 0
    assert 180 <= 60 * minutes + seconds <= 220  # 10 trials, of about 20 s
