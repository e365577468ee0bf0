"""What tests of shared studies share."""

from __future__ import annotations

import postgres
import pytest


@pytest.fixture(scope="module")
def server():
    reason = postgres.why_absent()
    if reason is not None:
        pytest.skip(reason)
    with postgres.run_server() as url:
        yield url
