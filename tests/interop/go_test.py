# SPDX-License-Identifier: Apache-2.0
"""The README's two lines of Go, with go-zeromq, which is ZeroMQ written anew in Go."""
import os
import pathlib
import re
import subprocess

from bus import ROOT
from cli import objects, ok

MAIN = """package main
import ("context"; "fmt"; "github.com/go-zeromq/zmq4")
func main() {
%s}
"""


def test_the_readme_publishes_from_go(make_bus):
    bus = make_bus(more='  notes: { topics: ["note.>"] }')
    lines = re.search(r"^```go\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)[1]
    module = pathlib.Path(os.environ["GO_MODULE"])
    (module / "main.go").write_text(MAIN % lines.replace("tcp://127.0.0.1:7400", bus.url))
    done = subprocess.run(["go", "run", "."], cwd=module, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "OK" in done.stdout and "disk" in done.stdout, done
    event, = objects(ok("tail", "note.>", "--all", "--no-follow", "--json", url=bus.url))
    assert event["data"] == {"text": "hello"}
