"""What all loggers share: nothing is written before there is something, and settings are checked."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from pathlib import Path

import pytest

from dpod_search.errors import ConfigError
from dpod_search.loggers import LOGGER_NAMES
from dpod_search.loggers import Logger
from dpod_search.loggers import LoggingSettings
from dpod_search.loggers import make_loggers


class Lines(Logger):
    """A logger without a library."""

    def _load(self) -> None:
        self.log: list[object] = []

    def _begin(self) -> None:
        self.log.append(("begin", self.folder.is_dir(), self.name, self.settings))

    def _put(self, stage: str, step: int, figures: Mapping[str, float]) -> None:
        self.log.append((stage, step, dict(figures)))

    def _flush(self) -> None:
        self.log.append("flush")

    def _end(self) -> None:
        self.log.append("end")


class Plain:
    """A callback of a user's, made for a run; it keeps what it is made with."""

    made: tuple[object, ...] = ()

    def __init__(self, folder: Path, name: str, settings: Mapping[str, str]) -> None:
        type(self).made = (folder, name, settings)

    def on_step(self, stage, step, values):
        pass

    on_trial = on_stage = on_step


class Deaf:
    def __init__(self, **_):
        pass

    def on_step(self, stage, step, values):
        pass


class Broken:
    def __init__(self, **_):
        raise KeyError("token")


def test_figures_are_named_by_stage_and_fate(tmp_path):
    with Lines(tmp_path / "a" / "b", name="run", settings={"seed": "0"}) as logger:
        assert not (tmp_path / "a").exists()
        logger.on_step("train", 3, {"loss": 1})
        logger.on_trial(7, {"macs": 9}, "evaluated")
        logger.on_stage("train", 2.5, {"n_steps": 4})
    logger.close()
    assert logger.log == [
        ("begin", True, "run", {"seed": "0"}),
        ("train", 3, {"train/loss": 1.0}),
        ("search/evaluated", 7, {"search/evaluated/macs": 9.0}),
        ("stages", 0, {"stages/train/seconds": 2.5, "stages/train/n_steps": 4.0}),
        "flush",
        "end",
    ]


def test_one_that_was_told_nothing_writes_nothing(tmp_path):
    with Lines(tmp_path / "a") as logger:
        pass
    assert logger.log == []
    assert not (tmp_path / "a").exists()


def make(*names, folder=Path("nowhere")):
    return make_loggers(names, folder, name="run", settings={"seed": "0"})


def test_a_class_of_the_users_is_made_with_a_folder_of_its_own(tmp_path):
    make(f"{__name__}:Plain", folder=tmp_path)
    assert Plain.made == (tmp_path / "Plain", "run", {"seed": "0"})
    assert not (tmp_path / "Plain").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (f"{__name__}:Nothing", "has no 'Nothing'"),
        (f"{__name__}:Deaf", "must have the methods on_step, on_trial, on_stage; it lacks on_tri"),
        (f"{__name__}:Broken", r"logger .*Broken raised KeyError in line \d+ of"),
        (f"{__name__}:test_figures_are_named_by_stage_and_fate", "cannot be called with argumen"),
        ("no_such_module:Logger", "there is no module 'no_such_module'"),
    ],
)
def test_what_is_no_logger_is_one_line(name, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", LOGGER_NAMES)
def test_a_missing_library_is_one_line_that_names_the_extra(name, monkeypatch):
    real = builtins.__import__

    def refuse(module, *rest, **options):
        if module.split(".")[0] == name or module.startswith("torch.utils.tensorboard"):
            raise ModuleNotFoundError(f"No module named {module!r}")
        return real(module, *rest, **options)

    monkeypatch.setattr("importlib.import_module", refuse)
    with pytest.raises(
        ConfigError, match=rf'{name} .*; install it: pip install "dpod-search\[{name}'
    ) as caught:
        make(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["tensorbord", "package.module", ""])
def test_a_name_that_is_none_is_refused(name):
    with pytest.raises(ConfigError, match="which is none of tensorboard, wandb, mlflow and no"):
        LoggingSettings((name,))
