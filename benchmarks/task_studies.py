"""The shipped studies of other tasks: what their members keep, what they cost, and the same widths alone.

    python benchmarks/task_studies.py --data-root ../shared/data --studies diabetes_mlp digits_gru

Each study goes through ``dpod-search run`` in a process of its own, whose processor seconds count.
Of the members within a share of the full net's macs, or of its parameters outside embeddings, that
one is told which is best on validation. With ``--alone`` its widths are trained from new weights
too, by the study's own training settings and on its labels, for as many multiply-adds as the whole
pipeline took for each member that it delivers: training, scoring, evaluations, teacher and
finetuning, backward passes twice their forward passes. Writes
``benchmarks/results/task_studies.json`` and ``docs/task-studies.md``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from provenance import ROOT
from provenance import describe_commit
from provenance import describe_machine
from rich.console import Console
from task_studies_page import write_page

from dpod_search.config import load_study
from dpod_search.evaluation import calibrate
from dpod_search.evaluation import measure_metrics
from dpod_search.finetune.learner import DistillationLearner
from dpod_search.inputs import count_samples
from dpod_search.pipeline.folder import RunFolder
from dpod_search.pipeline.session import Session
from dpod_search.progress import SilentProgress
from dpod_search.records.front import FinetunedFront
from dpod_search.records.front import Member
from dpod_search.records.search import Search
from dpod_search.records.training import Training
from dpod_search.records.trials import read_trials
from dpod_search.supernet import extract_subnet
from dpod_search.training import Loop
from dpod_search.widths import Widths


RESULTS = ROOT / "benchmarks" / "results" / "task_studies.json"
SHARES = (0.5, 0.25, 0.1)


def run_study(name: str, seed: int, root: str, out: Path) -> float:
    """Run a study through the command line; return its processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "dpod_search", "run", "--study", name, "--out", str(out)]
    sets = [f"seed={seed}", f"data.root={json.dumps(root)}"]
    command += [part for each in sets for part in ("--set", each)]
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def count_inner(session: Session, widths: Widths) -> int:
    """Return the parameters of a subnet outside embeddings."""
    module = extract_subnet(session.blank_supernet, widths)
    embedded = [m.weight for m in module.modules() if isinstance(m, torch.nn.Embedding)]
    return sum(p.numel() for p in module.parameters()) - sum(w.numel() for w in embedded)


def find_share(session: Session, member: Member) -> float:
    """Return a member's macs, or of text its parameters outside embeddings, over the full net's."""
    if session.task.name != "language-model":
        return member.macs_share
    space = session.blank_supernet.space
    return count_inner(session, space.make(member.widths)) / count_inner(session, space.full)


def count_macs(session: Session, front: FinetunedFront) -> float:
    """Return the multiply-adds of a whole pipeline."""
    config, n_train = session.config, len(session.data.train)
    training = Training.read(session.path)
    trials = read_trials(session.path, Search.read(session.path))
    n_looked = count_samples(session.calibration_images) + len(session.data.validation)
    searched = n_looked * sum(
        trial.values["macs"] for trial in trials if trial.fate in {"evaluated", "audited"}
    )
    settings = config.finetune
    tuned = sum(settings.epochs_of(m.macs_share) * n_train * m.macs for m in front.members)
    n_views = settings.n_views if settings.distillation > 0 else 0
    taught = n_views * n_train * front.full.macs
    return 3 * training.macs + training.scoring_macs + searched + 3 * tuned + taught


def train_alone(session: Session, member: Member, macs: float) -> dict[str, float]:
    """Train a member's widths from new weights; return their metrics on test."""
    settings = session.config.training
    widths = session.blank_supernet.space.make(member.widths)
    module = extract_subnet(session.blank_supernet, widths)  # its weights are initial ones
    loader = session.training_loader(settings.batch_size)
    n_epochs = macs / 3 / member.macs / len(session.data.train)
    Loop(
        module=module,
        loader=loader,
        n_epochs=n_epochs,
        learner=DistillationLearner(module, task=session.task),
        optimizer=settings,
        seed=session.seed,
    ).run()
    calibrate(module.eval(), session.calibration_images)
    metrics = measure_metrics(module, session.batches(session.data.test), session.task)
    return {"epochs": n_epochs, **metrics}


def measure(name: str, seed: int, root: str, *, is_alone: bool) -> dict[str, Any]:
    """Run a study and describe what it delivers."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        seconds = run_study(name, seed, root, out)
        config = load_study(name, [f"seed={seed}", f"data.root={json.dumps(root)}"])
        session = Session(config, RunFolder(out), SilentProgress(), is_guest=True)
        front = FinetunedFront.read(out)
        aim = front.task.first
        members = [m for m in front.members if m.macs < front.full.macs]
        total = count_macs(session, front)
        rows = []
        for share in SHARES:
            within = [m for m in members if find_share(session, m) <= share]
            best = max(within, key=lambda m: aim.gain(m.validation), default=None)
            if best is None:
                continue
            row = {
                "share": share,
                "of_full": find_share(session, best),
                "macs_share": best.macs_share,
                "params": best.footprint["params"],
                "test": dict(best.test),
                "test_before": dict(best.test_before),
            }
            if is_alone:
                row["alone"] = train_alone(session, best, total / len(front.members))
            rows.append(row)
        return {
            "study": name,
            "seed": seed,
            "metric": aim.name,
            "cpu_seconds": seconds,
            "full": {"test": dict(front.full.test), "params": front.full.footprint["params"]},
            "n_on_front": sum(m.on_front for m in front.members),
            "n_members": len(front.members),
            "smallest": min(m.macs_share for m in front.members),
            "rows": rows,
            "commit": describe_commit(),
        }


def main() -> None:
    """Run the studies, and write the results and the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", default="../shared/data")
    parser.add_argument("--studies", nargs="+", default=["diabetes_mlp", "digits_gru"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="train the same widths alone, too")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(soft_wrap=True)
    known = json.loads(options.results.read_text())["cases"] if options.results.exists() else []
    cases = {(case["study"], case["seed"]): case for case in known}
    for name in options.studies:
        for seed in range(options.seeds):
            case = measure(name, seed, options.data_root, is_alone=options.alone)
            console.print(case)
            cases[name, seed] = case
            content = {"cases": list(cases.values()), "machine": describe_machine()}
            options.results.write_text(json.dumps(content, indent=1) + "\n")
    if options.results == RESULTS:
        write_page()


if __name__ == "__main__":
    main()
