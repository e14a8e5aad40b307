# SPDX-License-Identifier: Apache-2.0
"""deploy/quickstart, which is `make run`: the quick start, and the first model trained in it and nowhere else."""
import json
import os
import signal
import subprocess

from bus import LINESHAFT, PATIENCE_S, ROOT, die_with_parent, free_base
from cli import environment, run, wait_until

SCRIPT = str(ROOT / "deploy" / "quickstart")


def surroundings(folder, base):
    return environment(f"tcp://127.0.0.1:{base}", LINESHAFT_PORT=str(base), LINESHAFT_HTTP_PORT=str(free_base()),
                       LINESHAFT_DATA=str(folder))


def test_one_trains_its_own_first_model_and_a_second_one_touches_nothing(tmp_path):
    base = free_base()
    url = f"tcp://127.0.0.1:{base}"
    with open(tmp_path / "log", "w", encoding="utf-8") as log:
        first = subprocess.Popen([SCRIPT, LINESHAFT], cwd=ROOT, env=surroundings(tmp_path / "a", base), stdout=log, stderr=log,
                                 preexec_fn=die_with_parent)
    try:
        def runs():
            done = run("workflow", "show", "train", "--limit", 5, "--json", url=url)
            return [one["workflow_run_id"] for one in json.loads(done.out)["runs"]] if done.status == 0 else []

        wait_until(lambda: runs() == ["first"], "the first model is being trained")
        second = subprocess.run([SCRIPT, LINESHAFT], cwd=ROOT, env=surroundings(tmp_path / "b", base), capture_output=True, text=True,
                                timeout=PATIENCE_S)
        assert second.returncode == 1 and str(base) in second.stderr and "No such process" not in second.stderr, second
        assert runs() == ["first"] and not os.path.exists(tmp_path / "b" / "bus")
    finally:
        first.send_signal(signal.SIGINT)
        assert first.wait(PATIENCE_S) == 0
