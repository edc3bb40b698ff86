"""How much liblsl may hold for us: hours where that is cheap, and never much memory."""

from __future__ import annotations

import pytest

from sleepstream.sources.lsl import buffer_s
from sleepstream.sources.network import HIGHEST_SFREQ

BYTES_PER_SAMPLE = 16


@pytest.mark.parametrize(("sfreq", "seconds"), [(100, 3600), (512, 3600), (4096, 512), (0, 3600)])
def test_what_is_held(sfreq: float, seconds: int) -> None:
    assert buffer_s(sfreq) == seconds


@pytest.mark.parametrize("sfreq", [64.0, 1000.0, 16384.0, HIGHEST_SFREQ])
def test_no_rate_that_a_stream_may_claim_takes_all_the_memory(sfreq: float) -> None:
    assert 1 <= buffer_s(sfreq) * sfreq * BYTES_PER_SAMPLE < 40e6
