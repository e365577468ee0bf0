from __future__ import annotations

import sklearn
from threadpoolctl import threadpool_info
from threadpoolctl import threadpool_limits

from dpod_search.search.plan.surrogate.quick import small_numerics


def count_threads():
    return [library["num_threads"] for library in threadpool_info()]


def test_settings_hold_inside_the_block_alone():
    with small_numerics():
        pass  # finds the libraries
    with threadpool_limits(2):
        before = count_threads(), sklearn.get_config()
        with small_numerics():
            assert set(count_threads()) == {1}
            assert sklearn.get_config()["assume_finite"]
        assert (count_threads(), sklearn.get_config()) == before
