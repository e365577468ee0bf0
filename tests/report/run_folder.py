"""A run folder as the stages write it, made from a formula instead of a training."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


GROUPS = {"stem": 16, "stage1.conv1": 16, "stage1.out": 32, "stage2.conv1": 32, "stage2.out": 64}
SHARES = {name: {"macs": i / 10, "params": i / 20} for i, name in enumerate(GROUPS, 1)}
FULL_MACS = sum(width * 4000 for width in GROUPS.values())
HOSTILE = 'a</script><script>document.title="owned"</script><b>&"\'${x}%{y}'


def count_macs(widths: Mapping[str, int]) -> int:
    return sum(width * width * 4000 // GROUPS[name] for name, width in widths.items())


def guess_accuracy(widths: Mapping[str, int]) -> float:
    ratios = [width / GROUPS[name] for name, width in widths.items()]
    return 0.97 * (1 - 0.55 * math.exp(-4.5 * float(np.prod(ratios)) ** (1 / len(ratios))))


class RunFolder:
    """Writes every file of a run; the documents can be changed before :meth:`write`."""

    def __init__(self, folder: Path, n_trials: int = 120) -> None:
        self.folder = folder
        self.generator = np.random.default_rng(7)
        self.rows = [self._make_row(number) for number in range(n_trials)]
        self.front = self._find_front()
        for row in self.rows:
            row["on_front"] = row["number"] in self.front
        self.documents: dict[str, Any] = {
            "search.json": self._make_search(),
            "training.json": self._make_training(),
            "path.json": {"profiles": self._make_profiles()},
            "environment.json": {
                "python": "3.11",
                "platform": "Linux",
                "processor": "x86_64",
                "n_cores": 4,
                "n_threads": 2,
                "cuda": None,
                "versions": {"numpy": "2.4"},
            },
            "front.json": self._make_front(),
        }
        self.documents["exported/manifest.json"] = self._make_manifest()
        self.config = (
            'name = "digits"\nseed = 0\n\n[data]\nname = "digits"\nroot = "data"\n\n'
            "[search]\nn_trials = 120\nconfidence = 0.9\n"
        )

    def write(self) -> Path:
        for name, document in self.documents.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(document))
        (self.folder / "config.toml").write_text(self.config)
        columns = list(dict.fromkeys(column for row in self.rows for column in row))
        with (self.folder / "trials.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
        return self.folder

    def rename_group(self, old: str, new: str) -> None:
        """Give a channel group another name in every file."""
        for row in self.rows:
            row[f"width:{new}"] = row.pop(f"width:{old}")
        importance = self.documents["search.json"]["importance"]["accuracy"]
        importance[new] = importance.pop(old)
        for group in self.documents["search.json"]["groups"]:
            group["name"] = new if group["name"] == old else group["name"]
        profiles = self.documents["path.json"]["profiles"]
        models = self.documents["exported/manifest.json"]["models"]
        # A model shares its widths with the member that it was made of.
        subnets = [*profiles, *self.documents["front.json"]["members"], *models]
        for holder in {id(subnet["widths"]): subnet for subnet in subnets}.values():
            holder["widths"][new] = holder["widths"].pop(old)

    def replace_objectives(self, objectives: Mapping[str, str]) -> None:
        """Search other objectives: macs and params keep their columns, the rest is drawn."""
        self.documents["search.json"]["objectives"] = [
            {"name": name, "direction": direction} for name, direction in objectives.items()
        ]
        for row in self.rows:
            is_measured = row["accuracy"] != ""
            for name in objectives:
                if name not in row:
                    row[name] = float(self.generator.uniform(1, 9)) if is_measured else ""

    def add_footprint(self, name: str, macs_each: int) -> None:
        """Write one more footprint, as a search does that knows it."""
        for row in self.rows:
            row[name] = row["macs"] // macs_each
        front, search = self.documents["front.json"], self.documents["search.json"]
        for holder in [search["full"], front["full"], *front["members"]]:
            holder[name] = holder["macs"] // macs_each
        for document in (search, front):
            document["footprints"].append(name)

    def model_latency(self) -> dict[str, Any]:
        """Write latency as a run does that models it and measures what was finetuned."""
        self.add_footprint("latency", 1)
        front, search = self.documents["front.json"], self.documents["search.json"]
        for holder in [*self.rows, search["full"], front["full"], *front["members"]]:
            holder["latency"] = float(f"{0.1 + holder['macs'] / 1e6:.4g}")
        for member in front["members"]:
            share = member["latency"] / front["full"]["latency"]
            member["measured_latency_share"] = round(share + 0.03, 4)
        self.documents["latency.json"] = {
            "table": "0f" * 32,
            "device": {
                "processor": "Toy 9000",
                "machine": "x86_64",
                "system": "Linux",
                "n_cores": 2,
                "device": "cpu",
                "backend": "eager",
                "version": "torch 2.9.0",
                "n_threads": 1,
                "batch_size": 1,
            },
            "is_other_device": False,
            "difference": "",
            "full_ms": front["full"]["latency"],
            "weights": {"layers": 1.1},
            "mape": 0.043,
            "worst": 0.119,
            "rank_correlation": 0.987,
            "n_held_out": 16,
        }
        return dict(self.documents["latency.json"])

    def skip_search(self, method: str = "mdp") -> dict[str, Any]:
        """Write what a run does that chose its widths at once: two subnets for three budgets."""
        chosen = self.front[1], self.front[-1]
        by_number = {row["number"]: row for row in self.rows}
        self.rows = [by_number[number] for number in chosen]
        front, search = self.documents["front.json"], self.documents["search.json"]
        front["members"] = [m for m in front["members"] if m["trial"] in chosen]
        choices = []
        for number, budget in zip(chosen, ("macs<=10%", "macs<=60%"), strict=True):
            row = by_number[number]
            self.choose(budget, number)
            sizes = {name: row[name] for name in search["footprints"]}
            widths = {name: row[f"width:{name}"] for name in GROUPS}
            choices.append({"budget": budget, "widths": widths, "footprint": sizes})
        if method == "mdp":
            choices[0] |= {"importance": 0.625, "bound": 0.625, "gap": 0.0, "is_proven": True}
            choices[1] |= {"importance": 0.9, "bound": 0.92, "gap": 0.0213, "is_proven": False}
        unmet = {"params<=9": "params<=9: the smallest subnet has 99; raise the budget"}
        front["budgets"].append("params<=9")
        front["unmet_budgets"] = unmet
        search["front"] = [chosen[1]]
        search["counts"] = dict.fromkeys(search["counts"], 0) | {"evaluated": 2}
        for row in self.rows:
            row |= {"source": method, "fate": "evaluated"}
        self.config += f'\n[oneshot]\nmethod = "{method}"\nbudgets = []\n'
        document = {"key": "0f", "method": method, "choices": choices, "unmet": unmet}
        self.documents["oneshot.json"] = document
        return document

    def choose(self, budget: str, trial: int | None) -> None:
        """Add a budget of the user's, and the member that was chosen for it."""
        front = self.documents["front.json"]
        front["budgets"].append(budget)
        for member in front["members"]:
            if trial is not None and member["trial"] == trial:
                member["budgets"].append(budget)

    def _make_row(self, number: int) -> dict[str, Any]:
        draw = self.generator
        widths = {name: int(draw.integers(1, 9)) * full // 8 for name, full in GROUPS.items()}
        macs = count_macs(widths)
        accuracy = guess_accuracy(widths) + float(draw.normal(0, 0.008))
        predicted = accuracy + float(draw.normal(0, 0.01))
        has_guess = number >= 20
        fate = "evaluated"
        if macs > 0.8 * FULL_MACS:
            fate = "pruned-constraint"
        elif number == 63:
            fate = "failed"
        elif has_guess:
            fates = ["evaluated", "audited", "pruned-surrogate", "cached"]
            fate = str(draw.choice(fates, p=[0.5, 0.08, 0.37, 0.05]))
        is_measured = fate in {"evaluated", "audited", "cached"}
        is_guessed = has_guess and fate in {"evaluated", "audited", "pruned-surrogate"}
        return {
            "number": number,
            "fate": fate,
            "source": "path" if number < 8 else "sampler",
            "generation": number // 20,
            "on_front": False,
            "accuracy": accuracy if is_measured else "",
            "macs": macs,
            "params": macs // 50,
            "weight_bytes": 4 * (macs // 50),
            "predicted_accuracy": predicted if is_guessed else "",
            "predicted_accuracy_low": predicted - 0.018 if is_guessed else "",
            "predicted_accuracy_high": predicted + 0.018 if is_guessed else "",
            "reason": "" if is_measured else f"{fate}: see the log",
            "seconds": 0.2 if is_measured else 0.001,
        } | {f"width:{name}": width for name, width in widths.items()}

    def _find_front(self) -> list[int]:
        measured = [row for row in self.rows if row["accuracy"] != ""]
        measured.sort(key=lambda row: (row["macs"], -row["accuracy"]))
        front, best = [], -1.0
        for row in measured:
            if row["accuracy"] > best:
                best = row["accuracy"]
                front.append(row["number"])
        return front

    def _make_search(self) -> dict[str, Any]:
        fates = [row["fate"] for row in self.rows]
        names = ("evaluated", "audited", "cached", "pruned-constraint", "pruned-surrogate")
        rungs = {name: [full * i // 8 for i in range(1, 9)] for name, full in GROUPS.items()}
        return {
            "study": "digits",
            "groups": [
                {"name": n, "full": full, "rungs": rungs[n], "shares": SHARES[n]}
                for n, full in GROUPS.items()
            ],
            "importance": {"accuracy": dict.fromkeys(GROUPS, 1 / len(GROUPS))},
            "objectives": [
                {"name": "accuracy", "direction": "maximize"},
                {"name": "macs", "direction": "minimize"},
            ],
            "footprints": ["macs", "params", "weight_bytes"],
            "constraints": {"macs": "<= 80%"},
            "full": {
                "accuracy": 0.965,
                "macs": FULL_MACS,
                "params": FULL_MACS // 50,
                "weight_bytes": 4 * (FULL_MACS // 50),
            },
            "counts": {name: fates.count(name) for name in (*names, "failed")},
            "audit": {
                "n_audited": 7,
                "n_wrong": 1,
                "rate": 1 / 7,
                "low": 0.026,
                "high": 0.513,
                "n_drawn": 8,
                "saved": 0.875,
                "saved_low": 0.529,
                "saved_high": 0.978,
            },
            "importance_r2": {},
            "front": self.front,
            "trials": {"n": len(self.rows), "sha256": "0f" * 32},
            "uncounted": [],
        }

    def _make_training(self) -> dict[str, Any]:
        steps = range(0, 1000, 20)
        return {
            "seconds": 31.5,
            "n_steps": 1000,
            "macs": 1.5e9,
            "scoring_macs": 2e8,
            "policy": "dpod",
            "n_ranks": 1,
            "history": [
                {
                    "step": step,
                    "loss": 2.3 * math.exp(-step / 250) + 0.1,
                    "partial_loss": None if step < 240 else 2.6 * math.exp(-step / 300) + 0.2,
                    "lr": 0.05 * (1 + math.cos(math.pi * step / 1000)),
                }
                for step in steps
            ],
            "full": {"accuracy": 0.962},
            "data": {
                "sizes": {"train": 900, "calibration": 100, "validation": 400, "test": 400},
                "n_classes": 2,
                "class_names": ["0", "1"],
                "input_shape": [1, 8, 8],
                "fingerprint": "4e1f",
            },
        }

    def _make_profiles(self) -> list[dict[str, Any]]:
        ladder = [{name: full * i // 8 for name, full in GROUPS.items()} for i in range(8, 0, -1)]
        return [
            {"widths": widths, "macs": count_macs(widths), "accuracy": guess_accuracy(widths)}
            for widths in ladder
        ]

    def _make_front(self) -> dict[str, Any]:
        by_number = {row["number"]: row for row in self.rows}
        members = [self._make_member(by_number[number]) for number in self.front]
        full = self._make_search()["full"] | {"validation_accuracy": 0.982, "test_accuracy": 0.98}
        del full["accuracy"]
        names = ["macs", "params", "weight_bytes"]
        document = {"study": "digits", "seed": 0, "footprints": names, "full": full}
        document |= {"budgets": [], "unmet_budgets": {}}
        return document | {"members": members}

    def _make_member(self, row: dict[str, Any]) -> dict[str, Any]:
        after = row["accuracy"] + 0.5 * (0.985 - row["accuracy"])
        return {
            "trial": row["number"],
            "folder": str(row["number"]),
            "widths": {name: row[f"width:{name}"] for name in GROUPS},
            "values": {"accuracy": row["accuracy"], "macs": row["macs"]},
            "values_after": {"accuracy": after, "macs": row["macs"]},
            "macs": row["macs"],
            "params": row["params"],
            "weight_bytes": row["weight_bytes"],
            "macs_share": row["macs"] / FULL_MACS,
            "validation_accuracy_before": row["accuracy"],
            "validation_accuracy": after,
            "test_accuracy_before": row["accuracy"] - 0.003,
            "test_accuracy": after - 0.004,
            "on_front": True,
            "knee": False,
            "budgets": [],
        }

    def _make_manifest(self) -> dict[str, Any]:
        models = []
        for member in self.documents["front.json"]["members"]:
            path = f"{member['trial']}/model.safetensors"
            file = {"path": path, "sha256": "0f" * 32, "bytes": member["weight_bytes"] + 512}
            accuracies = ("validation_accuracy_before", "validation_accuracy", "test_accuracy")
            kept = {key: member[key] for key in ("trial", "widths", *accuracies)}
            sizes = {key: member[key] for key in ("macs", "params", "weight_bytes")}
            pictures = {"shape": [1, 8, 8], "peak": None, "mean": None, "std": None, "how": "?"}
            models.append(
                kept
                | sizes
                | {"footprint": sizes, "notes": [], "input": pictures | {"classes": ["0", "1"]}}
                | {"files": {"safetensors": file | {"max_difference": 1.2e-6}}}
                | {"max_difference": 1.2e-6, "input_shape": [1, 8, 8], "classes": ["0", "1"]}
            )
        return {"study": "digits", "data": "4e", "versions": {"torch": "2.9"}, "models": models}
