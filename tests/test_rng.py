"""Generators are pure functions of a seed and names, in every process."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from dpod_search.rng import derive_seed
from dpod_search.rng import numpy_generator
from dpod_search.rng import seeded
from dpod_search.rng import torch_generator


NAMES = st.lists(st.integers(0, 9) | st.text("ab1", max_size=3), max_size=3)


def test_seeds_are_pinned() -> None:
    # A finished study must repeat with later versions: these numbers are part of the interface.
    assert derive_seed(0) == 3456079177858693020  # half of 0x5feceb66ffc86f38, see sha256sum
    assert derive_seed(0, "order", 3) == 34327578878524630


def test_another_process_draws_the_same() -> None:
    script = (
        "from dpod_search.rng import *\n"
        "print(numpy_generator(7, 'a', 1).integers(1 << 40), "
        "int(__import__('torch').randint(1 << 40, (1,), generator=torch_generator(7, 'a', 1))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    here = torch.randint(1 << 40, (1,), generator=torch_generator(7, "a", 1))
    assert done.stdout.split() == [
        str(numpy_generator(7, "a", 1).integers(1 << 40)),
        str(int(here)),
    ]


@given(st.integers(0, 9), NAMES, st.integers(0, 9), NAMES)
def test_seeds_differ_exactly_where_what_they_are_for_differs(
    seed: int, names: list[str | int], other_seed: int, other_names: list[str | int]
) -> None:
    same = (seed, names) == (other_seed, other_names)

    assert (derive_seed(seed, *names) == derive_seed(other_seed, *other_names)) == same
    assert 0 <= derive_seed(seed, *names) < 2**63


def test_a_number_and_its_text_are_different_names() -> None:
    assert derive_seed(0, 1) != derive_seed(0, "1")


def test_global_generators_are_left_alone() -> None:
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    numpy_generator(0, "a").random()
    torch.rand(1, generator=torch_generator(0, "a"))

    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_a_seeded_block_repeats_and_leaves_no_trace() -> None:
    state = torch.get_rng_state()
    drawn = []
    for seed in (1, 1, 2):
        with seeded(seed):
            drawn.append(float(torch.rand(1)))

    assert drawn[0] == drawn[1] != drawn[2]
    assert torch.equal(torch.get_rng_state(), state)
