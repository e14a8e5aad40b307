# SPDX-License-Identifier: Apache-2.0
"""What the tests of this folder share: openai-python, and the stack of tests/nodes. `make interop` runs them (tests/run-interop)."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "nodes"))


def pytest_report_header():
    import openai
    return f"openai-python {openai.__version__}"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report):
    """Names of tests say which openai-python they ran with: reports of several versions stand in one log."""
    if report.failed:
        import openai
        report.sections.append(("client", f"openai-python {openai.__version__}"))
