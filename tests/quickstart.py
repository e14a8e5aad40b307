# SPDX-License-Identifier: Apache-2.0
"""config/quickstart.yaml in a scratch folder and on free ports, for what is measured and pictured."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.request

sys.path.append(str(pathlib.Path(__file__).resolve().parent / "e2e"))

import bus  # noqa: E402
from demo_chat import descendants, pss_kib  # noqa: E402

ROOT = bus.ROOT
PATIENCE_S = 120


class QuickStart:
    """config/quickstart.yaml in a scratch folder, on free ports."""

    def __init__(self, program, folder):
        self.program, self.base, http = os.path.abspath(program), bus.free_base(), bus.free_base()
        self.url, self.http = f"tcp://127.0.0.1:{self.base}", f"http://127.0.0.1:{http}"
        self.env = {**os.environ, "LINESHAFT_DATA": folder, "LINESHAFT_PORT": str(self.base), "LINESHAFT_HTTP_PORT": str(http),
                    "LINESHAFT_URL": self.url}
        self.log = os.path.join(folder, "up.log")
        begun = time.monotonic()
        with open(self.log, "w", encoding="utf-8") as log:
            self.up = subprocess.Popen([program, "up", "config/quickstart.yaml"], cwd=ROOT, env=self.env, stdout=log, stderr=log,
                                       preexec_fn=bus.die_with_parent)
        self.until("are up after")
        self.up_s = time.monotonic() - begun

    def until(self, words):
        end = time.monotonic() + PATIENCE_S
        while True:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                said = file.read()
            if words in said:
                return
            if time.monotonic() > end or self.up.poll() is not None:
                raise SystemExit(f"quickstart: lineshaft never said \"{words}\":\n{said[-3000:]}")
            time.sleep(0.01)

    def run(self, *args):
        done = subprocess.run([self.program, *map(str, args)], cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=PATIENCE_S)
        if done.returncode:
            raise SystemExit(f"quickstart: lineshaft {' '.join(map(str, args))} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def train(self):
        """The first model, until both workers have it and the workflow that measures it is over too."""
        self.run("workflow", "run", "train", "--wait")
        self.run("tail", "model.loaded", "--all", "-f", "--count", 2)
        self.run("tail", "workflow.run.succeeded", "--all", "-f", "--count", 2)

    def chat(self, question):
        body = json.dumps({"model": "fortunes", "messages": [{"role": "user", "content": question}]}).encode()
        request = urllib.request.Request(self.http + "/v1/chat/completions", body, {"content-type": "application/json"})
        return urllib.request.urlopen(request, timeout=PATIENCE_S).read()

    def memory(self):
        """[name, MiB] of each process, what a node keeps beside it counted with it; and their sum."""
        rows, names = {}, {self.up.pid: "up"}
        for pid in descendants(self.up.pid):  # parents before their children
            with open(f"/proc/{pid}/environ", "rb") as file:
                member = [entry[17:].decode() for entry in file.read().split(b"\0") if entry.startswith(b"LINESHAFT_MEMBER=")]
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = [word.decode() for word in file.read().split(b"\0") if word]
            with open(f"/proc/{pid}/stat") as file:
                parent = int(file.read().rsplit(")", 1)[1].split()[1])
            names[pid] = "broker" if "broker" in words[1:2] else member[0] if member else names.get(parent, "up")
            rows.setdefault(names[pid], []).append(pss_kib(pid) / 1024)
        table = [[name + (f" ({len(mib)} processes)" if len(mib) > 1 else ""), sum(mib)] for name, mib in rows.items()]
        return table, sum(mib for _, mib in table)

    def close(self):
        self.up.send_signal(signal.SIGTERM)
        self.up.wait()
