"""The run folder that the benchmark of the report draws by a formula is one that can be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from dpod_search.records.run import read_run


def test_the_run_that_is_drawn_can_be_read(
    import_benchmark: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    import_benchmark("report_cost").write_run(folder, n_trials=60, n_groups=4)
    run = read_run(folder)
    assert len(run.trials) == 60
    assert run.front is not None
    assert {member.trial for member in run.front.members} <= set(run.search.front)
