# SPDX-License-Identifier: Apache-2.0
"""The C client against a real broker: the scenes of client_peer.c, the documented example, a broker that is killed."""
import os
import pathlib
import subprocess

import pytest

from bus import LINESHAFT, PATIENCE_S, ROOT

BUILD = pathlib.Path(os.environ.get("LINESHAFT_BUILD", pathlib.Path(LINESHAFT).parent))
PEER = BUILD / "tests/wire/client_peer"
EVENTS = 20000


def start(bus, *args):
    return subprocess.Popen([PEER, *args], env={**os.environ, "LINESHAFT_URL": bus.url}, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process, patience=2 * PATIENCE_S):
    """Its output, after exit status 0."""
    try:
        out, errors = process.communicate(timeout=patience)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    return out


@pytest.mark.parametrize("scene", ["publish_wait", "outcomes", "live", "live_single", "ephemeral", "read", "verdicts",
                                   "conflict", "request", "adm"])
def test_scene(bus, scene):
    finish(start(bus, scene))


def test_publishing_survives_a_killed_broker(bus):
    process = start(bus, "publish", str(EVENTS))
    assert process.stdout.readline() == "go\n"
    bus.restart()
    assert finish(process) == "connects 2\n"
    ids = [e.head["id"] for e in bus.stream()]
    assert sorted(ids) == sorted(f"e{i}" for i in range(EVENTS))


def test_consuming_survives_a_killed_broker(bus):
    finish(start(bus, "publish", str(EVENTS)))
    process = start(bus, "consume", str(EVENTS))
    assert process.stdout.readline() == "go\n"
    bus.restart()
    assert finish(process) == "connects 2\n"
    bus.until("everything is acknowledged", lambda: bus.consumer("c")["positions"][0]["pending"] == 0)


def test_a_client_may_start_before_the_broker(make_bus):
    bus = make_bus()
    bus.stop()
    process = start(bus, "publish_wait")
    bus.start()
    finish(process)


def test_the_documented_example_runs(bus, tmp_path):
    flags = subprocess.run(["pkg-config", "--libs", "libczmq", "libzmq", "msgpack", "yaml-0.1", "jansson", "libxxhash"],
                           check=True, capture_output=True, text=True).stdout.split()
    sanitizers = [flag for flag in (BUILD / "flags").read_text().split() if flag.startswith("-fsanitize=")]
    subprocess.run(["gcc", "-Wall", "-Wextra", "-Werror", *sanitizers,
                    f"-I{ROOT}/lib", f"{ROOT}/docs/examples/c/metrics.c", f"{BUILD}/liblineshaft.a", *flags, "-lm",
                    "-pthread", "-o", tmp_path / "metrics"], check=True)
    out = subprocess.run([tmp_path / "metrics"], env={**os.environ, "LINESHAFT_URL": bus.url}, check=True,
                         capture_output=True, text=True, timeout=PATIENCE_S).stdout.splitlines()
    assert [line.split(":")[0] for line in out] == ["run.metric 1", "run.metric 2", "run.metric 3", "answer",
                                                    "published 3, handled 3"]
    assert out[3] == 'answer: {"handled": 3}'
