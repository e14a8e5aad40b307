# SPDX-License-Identifier: Apache-2.0
"""The short form of tests/crash/power_cut.py; CRASH_IMAGES= and CRASH_SEED= change it."""
import os

import pytest

import power_cut

BUILD = os.environ.get("LINESHAFT_BUILD", "build")
IMAGES = int(os.environ.get("CRASH_IMAGES", "800"))
SEED = int(os.environ.get("CRASH_SEED", "1"))


@pytest.mark.parametrize("seed", range(SEED, SEED + 8))
def test_a_power_cut_breaks_no_promise(seed):
    images, wrong = power_cut.one_seed(BUILD, seed, IMAGES // 8)
    assert images >= IMAGES // 8 and not wrong, "\n".join(wrong)
