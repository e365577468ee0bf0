"""What the tests of finetuning share."""

from __future__ import annotations

import pytest
from training.fakes import make_batches
from training.fakes import make_supernet
from training.fakes import single_thread

from dpod_search import train_supernet


@pytest.fixture(scope="module")
def trained():
    """A trained supernet: finetuning must not change it."""
    supernet = make_supernet(dropout=0.1)
    with single_thread():
        train_supernet(supernet, make_batches(), epochs=2)
    return supernet
