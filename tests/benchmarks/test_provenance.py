"""What a benchmark says of its machine stands in its results, which are JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType


def test_the_machine_is_json(import_benchmark: Callable[[str], ModuleType]) -> None:
    machine = import_benchmark("provenance").describe_machine()
    assert json.loads(json.dumps(machine)) == machine
    assert {"python", "n_cores", "versions"} <= set(machine)
