# SPDX-License-Identifier: Apache-2.0
"""Fixtures for the tests that talk to a real broker. The binary is $LINESHAFT, default build/lineshaft."""
import os
import shutil

import pytest

from bus import LINESHAFT, Bus


def pytest_configure(config):
    config.addinivalue_line("markers", "short: part of the short runs under sanitizers")


def pytest_sessionstart(session):
    if not os.access(LINESHAFT, os.X_OK):
        raise pytest.UsageError(f"{LINESHAFT} is not a program: build it with `make`, or name another in LINESHAFT")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    setattr(item, f"report_{report.when}", report)


@pytest.fixture(autouse=True)
def spent(request):
    """The folder of a test that passed goes with it: a broker's first segments alone are some 100 MB. Those of failures stay."""
    yield
    report, folder = getattr(request.node, "report_call", None), request.node.funcargs.get("tmp_path")
    if folder and report and report.passed:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def make_bus(tmp_path, request):
    """make_bus(broker=YAML, more=YAML, segment=SIZE, env={}) starts a broker of its own. All end with the test, and show
    their logs if it failed."""
    made = []

    def make(start=True, **options):
        bus = Bus(tmp_path / f"bus{len(made)}", **options)
        made.append(bus)
        return bus.start() if start else bus

    yield make
    report = getattr(request.node, "report_call", None)
    for bus in made:
        bus.close()
        if report is None or report.failed:
            print(f"--- log of the broker in {bus.folder} ---\n{bus.log_text()[-6000:]}")


@pytest.fixture
def bus(make_bus):
    """A fresh broker: stream `events` (run.>, chat.>, job.>), stream `memory` (mem.>), live.> kept by none."""
    return make_bus()
