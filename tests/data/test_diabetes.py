"""The patients: standardised by those that are not tested on."""

from __future__ import annotations

import torch
from torch import Tensor

from dpod_search.data import DataSettings
from dpod_search.data import DataSplits
from dpod_search.data import load_data
from dpod_search.data.datasets import fetch_batch


def gather(splits: DataSplits, *names: str) -> tuple[Tensor, Tensor]:
    """Join all samples and targets of splits."""
    parts = [getattr(splits, name) for name in names]
    pairs = [fetch_batch(part, range(len(part))) for part in parts]
    return torch.cat([x for x, _ in pairs]), torch.cat([y for _, y in pairs])


def test_all_but_the_test_patients_have_mean_0_and_deviation_1() -> None:
    splits = load_data(DataSettings(name="diabetes"), 0)
    for values in gather(splits, "train", "calibration", "validation"):
        torch.testing.assert_close(
            values.mean(0), torch.zeros(values.shape[1:]), atol=1e-6, rtol=0
        )
        torch.testing.assert_close(values.std(0, correction=0), torch.ones(values.shape[1:]))
    assert splits.input_shape == (10,)
    assert splits.n_classes == 1


def test_the_test_patients_are_the_same_for_all_seeds() -> None:
    first, second = (load_data(DataSettings(name="diabetes"), seed) for seed in (0, 1))

    assert torch.equal(gather(first, "test")[0], gather(second, "test")[0])
    assert not torch.equal(gather(first, "validation")[0], gather(second, "validation")[0])
    assert len(load_data(DataSettings(name="diabetes", test_share=0.1), 0).test) == 44


def test_the_numbers_tell_something_of_the_target() -> None:
    samples, targets = gather(load_data(DataSettings(name="diabetes"), 0), "train")
    ones = torch.cat([samples, torch.ones(len(samples), 1)], dim=1)
    found = torch.linalg.lstsq(ones, targets[:, None]).solution
    left = (targets - (ones @ found)[:, 0]).var() / targets.var()

    assert 0.3 < left < 0.7  # half of the variance, as the paper has it
