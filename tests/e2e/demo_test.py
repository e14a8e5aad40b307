# SPDX-License-Identifier: Apache-2.0
"""`make demo`'s script: it says what came of the kills, exits 0, and ends what it started on every way out."""
import os
import re
import signal
import subprocess

from bus import LINESHAFT, PATIENCE_S, ROOT, die_with_parent

SCRIPT = ROOT / "tests" / "e2e" / "demo.sh"


def start(events):
    env = {**os.environ, "LINESHAFT": LINESHAFT, "DEMO_EVENTS": str(events)}
    return subprocess.Popen([SCRIPT], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, start_new_session=True, preexec_fn=die_with_parent)


def alive_in_session(session):
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8") as f:
                fields = f.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            found.append(int(entry))
    return found


def scratch_folders():
    return {name for name in os.listdir(os.path.dirname(LINESHAFT)) if name.startswith("demo.")}


def test_the_demo_loses_nothing_and_leaves_nothing():
    before = scratch_folders()
    demo = start(2000)
    output, _ = demo.communicate(timeout=120)
    assert demo.returncode == 0, output
    assert "0 lost, 0 stored twice, 0 unanswered, 0 answered twice" in output and output.count("kill -9") >= 3
    assert alive_in_session(demo.pid) == [] and scratch_folders() <= before


def test_a_demo_that_is_stopped_half_way_leaves_nothing():
    demo = start(20000)
    for line in demo.stdout:
        if re.match(r"^4\. ", line):
            break
    demo.send_signal(signal.SIGTERM)
    demo.communicate(timeout=PATIENCE_S + 60)
    assert demo.returncode == 143 and alive_in_session(demo.pid) == []
