# SPDX-License-Identifier: Apache-2.0
"""Runs README.md: its commands and its two lines of Python, in their order, on ports and folders of the test's own.

`make run` is run as what it starts, `lineshaft up config/quickstart.yaml` and the workflow that makes the first model; that and the
other targets only have to exist.
"""
import os
import re
import signal
import subprocess
import urllib.request

import pytest

from bus import LINESHAFT, PATIENCE_S, ROOT, free_base
from cli import Background, environment, run, wait_until
from hello_test import nodejs

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
PYTHON = os.environ.get("PYTHON", "/usr/bin/python3")


class Reader:
    """Somebody who types what the page says; `up` and `tail -f` stay in terminals of their own."""

    def __init__(self, folder):
        self.folder, self.place, self.base, self.http, self.open = folder, ROOT, free_base(), free_base(), []
        self.env = {"LINESHAFT_PORT": str(self.base), "PYTHON": PYTHON, "LINESHAFT_HTTP_PORT": str(self.http),
                    "PATH": f"{os.path.dirname(LINESHAFT)}:{os.environ['PATH']}"}
        self.url = f"tcp://127.0.0.1:{self.base}"

    def up(self, file):
        """A topology, with a data folder of its own."""
        self.env["LINESHAFT_DATA"] = self.data(file)
        self.stay(["up", file], "broker: ready")

    def data(self, file):
        return str(self.folder / "data" / os.path.basename(file).partition(".")[0])

    def stay(self, args, until):
        """A command that stays, when it has printed `until`."""
        terminal = Background(*args, url=self.url, cwd=self.place, **self.env)
        self.open.append(terminal)
        terminal.wait_for(until)
        return terminal

    def end(self):
        """Ctrl-C in every terminal; the last one first."""
        while self.open:
            terminal = self.open.pop()
            assert terminal.end(signal.SIGINT) in (0, -signal.SIGINT), terminal.seen

    def printed(self, command):
        done = subprocess.run(command, cwd=self.place, env=environment(self.url, **self.env), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE_S * 2)
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout

    def nodejs(self, text):
        """In a folder with the packages of the example in Node.js."""
        folder = os.path.dirname(nodejs()[1])
        with open(os.path.join(folder, "readme.mjs"), "w", encoding="utf-8") as file:
            file.write(text)
        answer = self.printed(["node", os.path.join(folder, "readme.mjs")])
        assert "OK" in answer and "disk" in answer, answer

    def models(self):
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.http}/v1/models").read().decode()
        except OSError:
            return ""

    def shell(self, command):
        words = command.split()
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.M), command
            if words[1] == "run":
                self.up("config/quickstart.yaml")
                wait_until(lambda: run("workflow", "run", "train", "--run", "first", url=self.url).status == 0, "the run is begun")
        elif words[:2] == ["lineshaft", "up"]:
            self.end()
            self.up(words[2])
        elif words[-1] == "-f":
            self.stay([word.strip("'") for word in words[1:]], "hello.said")
        elif "chat/completions" in command:
            wait_until(lambda: "fortunes" in self.models(), "the model is there")
            assert "[DONE]" in self.printed(["bash", "-c", command])
        elif words[0] != "export":  # of PATH, which the test has set
            self.printed(["bash", "-c", command])

    def file(self, text):
        """A topology of the reader's own, in a folder of its own; what ran before is ended."""
        self.end()
        self.place = self.folder
        (self.folder / "notes.yaml").write_text(text)


@pytest.fixture
def reader(tmp_path):
    reader = Reader(tmp_path)
    yield reader
    for terminal in reversed(reader.open):
        terminal.close()


def test_the_readme_does_what_it_says(reader):
    done, real = [], {"7400": str(reader.base), "7480": str(reader.http), "var/wandb": reader.data("quickstart") + "/wandb"}
    for language, text in BLOCK.findall(re.sub("|".join(real), lambda shown: real[shown[0]], (ROOT / "README.md").read_text())):
        done.append(language)
        if language == "python":
            answer = reader.printed([PYTHON, "-c", text])
            assert "OK" in answer and "disk" in answer
        elif language == "js":
            reader.nodejs(text)
        elif language == "go":
            assert "zmq4.NewReq" in text  # tests/interop/go_test.py runs them
        elif language == "yaml":
            reader.file(text)
        else:
            assert language == "sh", language
            for line in text.splitlines():
                reader.shell(line.partition(" #")[0].strip())
    reader.end()
    assert {"sh", "python", "js", "go", "yaml"} == set(done)
