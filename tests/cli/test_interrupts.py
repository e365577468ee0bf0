"""What a signal leaves to be said."""

from __future__ import annotations

import sys
import threading

import pytest

from dpod_search.cli.interrupts import Interrupts


@pytest.mark.parametrize("comes", [False, True])
def test_what_ends_after_a_signal_has_nothing_to_add(
    comes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: told.append(error))

    def serve() -> None:  # as `multiprocessing.resource_sharer` tells of a worker that is gone
        try:
            raise ConnectionResetError
        except ConnectionResetError:
            sys.excepthook(*sys.exc_info())

    with Interrupts() as interrupts:
        if comes:
            with pytest.raises(KeyboardInterrupt):
                interrupts(2, None)
        thread = threading.Thread(target=serve)
        thread.start()
        thread.join()
    assert len(told) == (not comes)
    serve()
    assert len(told) == 1 + (not comes)  # as it was before the block
