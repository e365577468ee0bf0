"""Putting a run folder's knowledge into its study: names, notes, figures and files.

Everything goes into attributes of the study, so that trials stay as the search has left them.
Doing it again writes only what has changed, and leaves notes alone that a person has edited.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from pathlib import PurePosixPath
from typing import Any

import optuna
from optuna.storages import BaseStorage

from dpod_search.dashboard import attaching
from dpod_search.dashboard.attaching import Attachment
from dpod_search.dashboard.notes import PICTURE
from dpod_search.dashboard.notes import Places
from dpod_search.dashboard.notes import members_by_trial
from dpod_search.dashboard.notes import write_study_note
from dpod_search.dashboard.notes import write_trial_note
from dpod_search.dashboard.picture import draw_widths
from dpod_search.dashboard.studies import check_trials
from dpod_search.dashboard.studies import find_same
from dpod_search.dashboard.studies import find_study
from dpod_search.dashboard.studies import may_write
from dpod_search.dashboard.studies import need_dashboard
from dpod_search.dashboard.studies import require_study
from dpod_search.dashboard.studies import written_together
from dpod_search.files import hash_value
from dpod_search.records.markers import FILES
from dpod_search.records.markers import check_file
from dpod_search.records.markers import check_links
from dpod_search.report import FIGURES
from dpod_search.report import Drawing
from dpod_search.report import Run
from dpod_search.report import read_run
from dpod_search.search import name_finetune_study
from dpod_search.search.store import attributes
from dpod_search.search.store import open_existing
from dpod_search.search.store import telling_database_errors
from dpod_search.search.store.optuna_internals import read_dashboard_figures
from dpod_search.search.store.optuna_internals import read_study_attrs
from dpod_search.search.store.optuna_internals import reopen_trial
from dpod_search.search.store.optuna_internals import storage_of
from dpod_search.search.store.optuna_internals import study_id_of
from dpod_search.search.store.optuna_internals import trial_id_of
from dpod_search.search.store.optuna_internals import write_study_attr
from dpod_search.search.store.quiet import quiet_optuna


RECORD = "dpod:dashboard"  # system attribute of a study: what was put there, and nobody else's
_HEIGHT = 480  # of the place that the dashboard has for a figure, in pixels
_BELOW = {"orientation": "h", "x": 0, "y": -0.18, "yanchor": "top"}
_STUDY_FILES = ("report.html", "trials.csv", "front.json")


@dataclass(frozen=True)
class Decorated:
    """A study that is ready to be shown.

    Args:
        storage: Where it is kept.
        study_id: Its id there, which is in the dashboard's addresses.
        is_searching: The search has not written its results: only what Optuna knows is shown.
        is_read_only: The run folder or the storage cannot be written to: it is shown as it is.
        n_notes: Notes written, this time.
        n_figures: Figures written, this time.
        n_files: Files attached, this time.
    """

    storage: BaseStorage
    study_id: int
    is_searching: bool = False
    is_read_only: bool = False
    n_notes: int = 0
    n_figures: int = 0
    n_files: int = 0


@dataclass
class _Writer:
    """Writes into one study what it does not hold already."""

    study: optuna.Study
    store: Path
    n_notes: int = 0
    n_files: int = 0
    _kept: dict[str, Any] = field(default_factory=dict)
    _notes: dict[str, str] = field(default_factory=dict)
    _files: dict[str, str] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._attrs = read_study_attrs(self.study)
        self._kept = self._attrs.get(RECORD) or {"notes": {}, "files": {}}

    def attach(self, attachment: Attachment) -> str:
        """Attach a file and return its address."""
        artifact_id = attachment.artifact_id
        key = attaching.key_of(attachment, artifact_id)
        self._files[key] = artifact_id
        attaching.store(self.store, attachment, artifact_id)
        if not attaching.is_attached(self._attrs, key):
            self._set(key, attaching.describe(attachment, artifact_id))
            self.n_files += 1
        return attaching.link_to(study_id_of(self.study), attachment, artifact_id)

    def note(self, body: str, trial_id: int | None = None) -> None:
        """Write the note of the study or of a trial, unless a person has edited it."""
        self._seen.add(_name_of(trial_id))
        found = self._read_note(trial_id)
        digest = hash_value(body)
        if found and hash_value(found) not in (self._wrote(trial_id), digest):
            return
        self._notes[_name_of(trial_id)] = digest
        if found != body:
            self._save_note(trial_id, body)

    def draw(self, run: Run) -> int:
        """Save the figures that the report would draw; return how many have changed."""
        from optuna_dashboard import save_plotly_graph_object

        known = read_dashboard_figures(self._attrs)
        n_changed = 0
        for kind in FIGURES:
            drawing = kind.draw(run)
            if not isinstance(drawing, Drawing):
                continue
            figure = drawing.figure
            # The report has the title above the figure, and no bound on its height.
            title = {"text": kind.title, "x": 0.01, "y": 0.98, "yanchor": "top"}
            figure.update_layout(title=title, height=_HEIGHT, margin={"t": 50}, legend=_BELOW)
            if known.get(kind.name) != figure.to_json():
                save_plotly_graph_object(self.study, figure, graph_object_id=kind.name)
                n_changed += 1
        return n_changed

    def finish(self) -> None:
        """Take away what was put there before and is out of date, and record what is there."""
        for name in self._kept["notes"].keys() - self._seen:  # of a trial that left the front
            if hash_value(self._read_note(int(name))) == self._wrote(int(name)):
                self._save_note(int(name), "")
        for key, artifact_id in attaching.list_stale(self._kept["files"], self._files).items():
            self._set(key, "null")  # how the dashboard says that a file was taken away
            # The id comes from a storage that others may write to: it names a file here or none.
            with suppress(OSError, ValueError):
                (self.store / str(uuid.UUID(artifact_id))).unlink(missing_ok=True)
        record = {"notes": self._notes, "files": self._files}
        if record != self._kept:
            self._set(RECORD, record)

    def _wrote(self, trial_id: int | None) -> str | None:
        """Return the hash of the note that was written here last."""
        digest: str | None = self._kept["notes"].get(_name_of(trial_id))
        return digest

    def _owner(self, trial_id: int | None) -> optuna.Study | optuna.Trial:
        # The dashboard takes running trials only, but asks them for nothing that others lack.
        return self.study if trial_id is None else reopen_trial(self.study, trial_id)

    def _read_note(self, trial_id: int | None) -> str:
        from optuna_dashboard import get_note

        return str(get_note(self._owner(trial_id)))

    def _save_note(self, trial_id: int | None, body: str) -> None:
        from optuna_dashboard import save_note

        save_note(self._owner(trial_id), body)
        self.n_notes += 1

    def _set(self, key: str, value: Any) -> None:
        write_study_attr(self.study, key, value)


@telling_database_errors()
def decorate_study(
    run_folder: Path, study_name: str, storage: str | Path | BaseStorage | None = None
) -> Decorated:
    """Put names, notes, figures and files where optuna-dashboard shows them.

    The folder's lock is not needed. As long as the search has written no results, nothing is
    written into its study; nor is it where the folder or the storage cannot be written to.

    Args:
        run_folder: The run folder; files are put into its folder ``artifacts``.
        study_name: Name of the study.
        storage: Where the study is kept; None is the journal in the run folder.

    Returns:
        The study and what was new. The second time nothing is.

    Raises:
        ConfigError: If optuna-dashboard is not installed, or the storage cannot be opened.
        RunFolderError: If there is no such study, it is not that of the run folder, or its
            database cannot be read; or there are links where a run has files.
        CheckpointError: If a file is damaged, was changed, or cannot be written.
    """
    need_dashboard()
    check_links(run_folder)
    target = storage if storage is not None else run_folder / "study.journal"
    is_read_only = not may_write(run_folder, target)
    opened = open_existing(target, is_read_only=is_read_only)
    study = require_study(study_name, opened)
    if not (run_folder / "search.json").is_file():
        return Decorated(opened, study_id_of(study), is_searching=True)
    run = read_run(run_folder)
    check_trials(run, study.get_trials(deepcopy=False))
    if is_read_only:
        return Decorated(opened, study_id_of(study), is_read_only=True)
    child = find_study(name_finetune_study(study_name), opened)
    with written_together(opened), quiet_optuna():
        return _decorate(run, study, child)


def _decorate(run: Run, study: optuna.Study, child: optuna.Study | None) -> Decorated:
    names = [objective.name for objective in run.search.objectives]
    if study.metric_names != names:
        study.set_metric_names(names)
    child_id = None if child is None else study_id_of(child)
    child_name = "" if child is None else child.study_name
    places = Places(study_id_of(study), child_id, child_name)
    writer = _Writer(study, run.folder / attaching.FOLDER)
    check_file(run.folder, "report.html", FILES["report.html"])
    files = {
        name: writer.attach(Attachment(name, run.folder / name))
        for name in _STUDY_FILES
        if (run.folder / name).is_file()
    }
    writer.note(write_study_note(run, places, files))
    _decorate_trials(run, writer, places)
    n_figures = writer.draw(run)
    writer.finish()
    n_notes = writer.n_notes
    if child is not None:
        n_notes += _decorate_child(run, child, places)
    return Decorated(
        storage_of(study),
        study_id_of(study),
        n_notes=n_notes,
        n_figures=n_figures,
        n_files=writer.n_files,
    )


def _decorate_trials(run: Run, writer: _Writer, places: Places) -> None:
    """Give each member of the front its note, a picture of its widths and its models."""
    members = members_by_trial(run)
    trials = writer.study.get_trials(deepcopy=False)
    for known in run.trials:
        if known.number not in run.search.front and known.number not in members:
            continue
        trial = find_same(trials, known)
        if trial is None:  # the storage holds another trial of this number, or none
            continue
        picture = draw_widths(f"trial {known.number}", known.widths, run.search.groups)
        attachments = [Attachment(PICTURE, picture, trial_id_of(trial))]
        if known.number in members:
            found = _list_exported(run, known.number)
            attachments += [Attachment(file.name, file, trial_id_of(trial)) for file in found]
        files = {item.filename: writer.attach(item) for item in attachments}
        note = write_trial_note(run, known, members.get(known.number), places, files)
        writer.note(note, trial_id_of(trial))


def _list_exported(run: Run, number: int) -> list[Path]:
    """Return the files of a trial that its manifest names; nothing else is shown to others."""
    files = [
        file
        for model in run.exported or ()
        if model.trial == number
        for file in model.files.values()
    ]
    names = sorted(f"exported/{number}/{PurePosixPath(file.path).name}" for file in files)
    for name in names:
        check_file(run.folder, name, FILES["exported/#/model.*"])
    return [run.folder / name for name in names if (run.folder / name).is_file()]


def _decorate_child(run: Run, child: optuna.Study, places: Places) -> int:
    writer = _Writer(child, run.folder / attaching.FOLDER)
    widths = {trial.number: dict(trial.widths) for trial in run.trials}
    writer.note(
        f"What finetuning made of the chosen subnets of {places.link(run.search.study)}: "
        "the same parameters, and the values after finetuning.\n"
    )
    for trial in child.get_trials(deepcopy=False):
        number = trial.user_attrs.get(attributes.PARENT)
        # What an earlier search's trial of this number became is no news of this one.
        if isinstance(number, int) and trial.user_attrs.get(attributes.WIDTHS) == widths.get(
            number
        ):
            link = places.trial(number, f"trial {number} of {run.search.study}")
            writer.note(f"After finetuning. Widths and files: {link}.\n", trial_id_of(trial))
    writer.finish()
    return writer.n_notes


def _name_of(trial_id: int | None) -> str:
    return "study" if trial_id is None else str(trial_id)
