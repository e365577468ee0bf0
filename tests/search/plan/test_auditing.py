from __future__ import annotations

import pytest

from dpod_search.search import SearchSettings
from dpod_search.search.plan.auditing import is_audit


def draw(share, seed=0, n=2000):
    settings = SearchSettings(audit_share=share)
    return [is_audit(seed, number, settings) for number in range(n)]


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_the_share_asked_for_is_audited(share):
    # Numbers of trials are fixed, so this cannot fail by chance; the width is 4 deviations.
    deviation = (share * (1 - share) / 2000) ** 0.5
    assert sum(draw(share)) / 2000 == pytest.approx(share, abs=4 * deviation)


def test_none_and_all_can_be_asked_for():
    assert not any(draw(0.0))
    assert all(draw(1.0))


def test_which_trials_they_are_follows_from_seed_and_number():
    assert draw(0.2) == draw(0.2)
    assert draw(0.2) != draw(0.2, seed=1)


def test_more_audits_keep_those_there_were():
    assert all(more for few, more in zip(draw(0.1), draw(0.3), strict=True) if few)
