# SPDX-License-Identifier: Apache-2.0
"""What the tests of this folder share: the clients' versions in their reports, and the stack of tests/nodes. `make interop` runs
them (tests/run-interop)."""
import importlib.metadata
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "nodes"))
CLIENTS = ("openai", "mlflow", "mlflow-skinny", "wandb", "boto3")


def versions():
    found = []
    for name in CLIENTS:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            pass
    return ", ".join(found) or "no client of those that are known"


def pytest_report_header():
    return versions()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report):
    """Reports of several versions stand in one log: each failure says which clients it ran with."""
    if report.failed:
        report.sections.append(("client", versions()))
