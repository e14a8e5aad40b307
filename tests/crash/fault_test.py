# SPDX-License-Identifier: Apache-2.0
"""Disks that refuse for a while (preload/fault.c): what was acknowledged stays, what was refused never appears, and the
log is healthy again once the disk is."""
import os
import shutil
import subprocess
import tempfile

import pytest

import power_cut
from recording import seeded

BUILD = os.environ.get("LINESHAFT_BUILD", "build")
DRIVER = os.path.join(BUILD, "tests", "crash", "driver")
FAULTS = ["pwrite EIO", "fdatasync EIO", "fsync EIO", "rename EIO", "fallocate ENOSPC", "open ENOSPC", "pwrite,fdatasync EIO",
          "unlink EIO", "pwrite,fallocate,open ENOSPC", "pwrite EIO 3", "fdatasync EIO 2", "fdatasync SLOW 40"]


@pytest.fixture(name="lab")
def make_lab():
    folder = tempfile.mkdtemp(prefix="faults-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    yield folder
    shutil.rmtree(folder)


def live(lab, data, promise, rng, end):
    """One life of the driver, with faults that come and go by how much it said; the last part is without."""
    control = os.path.join(lab, "control")
    steps = 500
    env = dict(os.environ, LD_PRELOAD=os.path.join(lab, "fault.so"), FAULT_DIR=data, FAULT_CONTROL=control)
    with open(control, "w", encoding="ascii"):
        pass
    with subprocess.Popen([DRIVER, "run", data, str(rng.randrange(1 << 30)), str(steps), end], env=env, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as driver:
        number = 0
        for line in driver.stdout:
            promise.hear(line)
            number += not line.startswith(("state ", "opened"))  # not while it opens
            if number % 60 == 30:
                fault = rng.choice(FAULTS) if number < 1200 and rng.random() < 0.6 else ""
                with open(control + ".new", "w", encoding="ascii") as file:
                    file.write(fault)
                os.rename(control + ".new", control)
        assert driver.wait(60) == 0


@pytest.mark.parametrize("seed", range(4))
def test_faults_that_come_and_go_break_no_promise(lab, seed):
    power_cut.compile_preload("fault", lab)
    data, promise, rng = os.path.join(lab, "data"), power_cut.Promise(), seeded("faults", seed)
    os.mkdir(data)
    for end in ("exit", "close", "exit"):
        live(lab, data, promise, rng, end)
    seen = power_cut.Seen(subprocess.run([DRIVER, "check", data], check=True, text=True, stdout=subprocess.PIPE).stdout)
    assert sum(len(acked) for acked in promise.acked.values()) > 100
    power_cut.check(promise, seen, promise.retained)
