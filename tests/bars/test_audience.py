from __future__ import annotations

import io
import subprocess
import sys
import types

import pytest
from training.fakes import make_batches
from training.fakes import make_supernet

from dpod_search import train_supernet
from dpod_search.bars import watched
from dpod_search.bars.audience import is_notebook
from dpod_search.errors import ConfigError
from dpod_search.progress import SilentProgress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Kept(list):
    """What a notebook's output shows: one entry a place."""

    def display(self, bundle, *, raw, display_id):
        assert raw
        assert display_id
        self.append([bundle["text/plain"]])
        place = self[-1]
        update = lambda bundle, raw: place.append(bundle["text/plain"])  # noqa: E731
        return types.SimpleNamespace(update=update)


@pytest.fixture
def notebook(monkeypatch):
    kept = Kept()
    shell = types.SimpleNamespace(kernel=object())
    module = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(
        sys.modules, "IPython.display", types.SimpleNamespace(display=kept.display)
    )
    return kept


def open_terminal(monkeypatch):
    # In the test itself: pytest puts its own standard error in place after the fixtures.
    text = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", text)
    return text


def work(progress):
    with watched(progress) as told:
        told.start("train", 3)
        for _ in range(3):
            told.advance(1, "loss <b>")
        told.finish()
    return told


def test_a_script_that_nobody_watches_is_silent(capsys):
    assert isinstance(work("auto"), SilentProgress)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_bars(monkeypatch):
    terminal = open_terminal(monkeypatch)
    work("auto")
    assert "train" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()


def test_a_notebook_gets_one_line_that_renews_itself(notebook, capsys):
    work("auto")
    ((first, *_, last),) = notebook
    assert first.startswith("train: 1 of 3")
    assert first.endswith("loss <b>")
    assert last.startswith("train: 3 of 3")
    assert capsys.readouterr() == ("", "")


def test_none_is_silent_whoever_looks_on(notebook, monkeypatch):
    terminal = open_terminal(monkeypatch)
    assert isinstance(work(None), SilentProgress)
    assert terminal.getvalue() == ""
    assert notebook == []


def test_an_object_is_told_itself():
    progress = SilentProgress()
    with watched(progress) as told:
        assert told is progress


def test_another_text_is_refused():
    with pytest.raises(ConfigError, match='progress must be "auto", None or an object'):
        work("yes")


def test_bars_leave_pythons_generator_alone():
    run_alone(
        "import io, random\n"
        "class Terminal(io.StringIO): isatty = lambda self: True\n"
        "sys.stderr, state = Terminal(), random.getstate()\n"
        "with watched('auto') as told: told.start('train', 1)\n"
        "assert 'rich' in sys.modules and random.getstate() == state"
    )


def test_an_error_ends_the_bars(monkeypatch):
    open_terminal(monkeypatch)
    with pytest.raises(ZeroDivisionError), watched("auto") as told:
        told.start("train", 3)
        told.advance(1 // 0)
    assert not told._bars.live.is_started


def test_verbs_draw_by_default(monkeypatch):
    terminal = open_terminal(monkeypatch)
    train_supernet(make_supernet(), make_batches(), policy="independent", epochs=1)
    assert "train" in terminal.getvalue()


def test_a_process_without_a_notebook_has_no_kernel():
    assert not is_notebook()


def test_rich_is_not_imported_where_nobody_looks_on():
    run_alone(
        "with watched('auto') as told: told.start('train', 1)\nassert 'rich' not in sys.modules"
    )


def run_alone(code):
    code = f"import sys\nfrom dpod_search.bars import watched\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
