"""What a run folder holds, from Python: ``python examples/read_run.py runs/digits``.

Every file is read as a frozen value whose fields are the file's keys (docs/reference/records.md). It
needs no PyTorch, and takes a moment.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from dpod_search.report import read_run


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    run = read_run(folder)
    print(f"{run.search.study}: {len(run.search.front)} searched members")
    if run.front is not None:
        for member in run.front.members:
            print(
                f"trial {member.trial}: {member.footprint['macs']:,.0f} macs, "
                f"validation {dict(member.validation)}, test {dict(member.test)}"
            )
    with (folder / "trials.csv").open(encoding="utf-8", newline="") as file:
        trials = list(csv.DictReader(file))
    print(f"{len(trials)} trials, with the columns {', '.join(list(trials[0])[:6])}, …")


if __name__ == "__main__":
    main()
