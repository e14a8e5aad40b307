# SPDX-License-Identifier: Apache-2.0
"""Runs docs/tutorial.md: every block in its order, in a scratch folder, against what the page shows.

    ```yaml notes.yaml             a file; so is ```python NAME
    ```console                     commands (`$ ...`) in the reader's terminal, and what they print
    ```console terminal 2          a command that stays; it ends the one that ran there before, as Ctrl-C does
    ```console terminal 2 goes on  what that command prints by now

A line of the page must be found in a line of the real output, in the same order: all its words, with anything between them.
"""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

import pytest

from bus import LINESHAFT, ROOT, die_with_parent, free_base

PAGE = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.M | re.S)
PATIENCE_S = 60


def fits(shown, real):
    """All words of `shown` are in `real`, in this order."""
    at = 0
    for word in shown.split():
        at = real.find(word, at)
        if at < 0:
            return False
        at += len(word)
    return True


def missing(shown, output):
    """The first line of the page that the output lacks, or None."""
    lines = iter(output.splitlines())
    for line in filter(str.strip, shown.splitlines()):
        if not any(fits(line, real) for real in lines):
            return line
    return None


class Terminal:
    """A command that stays, with its output in a file."""

    def __init__(self, folder, number, env):
        self.env, self.folder = env, folder
        self.file = folder.parent / f"terminal{number}.log"
        self.process, self.seen = None, 0

    def start(self, command):
        self.interrupt()
        self.file.write_text("")
        self.seen = 0
        out = open(self.file, "ab")
        self.process = subprocess.Popen(["bash", "-c", f"exec {command}"], cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL,
                                        stdout=out, stderr=out, start_new_session=True, preexec_fn=die_with_parent)
        out.close()

    def interrupt(self):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
            self.process.wait(PATIENCE_S)

    def shows(self, shown):
        """Wait until the output has these lines, behind those that were asked for before."""
        until = time.monotonic() + PATIENCE_S
        while True:
            output = self.file.read_text(errors="replace")
            line = missing(shown, output[self.seen:])
            if line is None:
                self.seen = len(output)
                return
            waiting = time.monotonic() < until and self.process.poll() is None
            assert waiting, f"the page shows {line!r}; the terminal shows\n{output}"
            signal.sigtimedwait([], 0.02)


def run(commands, folder, env):
    """`$ command` lines, each with the lines that the page shows below it."""
    for part in re.split(r"^\$ ", commands, flags=re.M)[1:]:
        command, _, shown = part.partition("\n")
        done = subprocess.run(["bash", "-c", command + "\nexit $?"], cwd=folder, env=env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE_S)
        line = missing(shown, done.stdout)
        assert line is None, f"$ {command}\nthe page shows {line!r}; it printed\n{done.stdout}"


@pytest.fixture
def workplace(tmp_path):
    # A short path: the socket of an artifacts node below it has room for 107 bytes.
    folder, programs = pathlib.Path(tempfile.mkdtemp(prefix="notes-")), tmp_path / "bin"
    programs.mkdir()
    (programs / "lineshaft").symlink_to(LINESHAFT)
    (programs / "python3").symlink_to(os.environ.get("PYTHON", "/usr/bin/python3"))
    base, http = free_base(), free_base()
    env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "LINESHAFT_URL": f"tcp://127.0.0.1:{base}", "NO_COLOR": "1"}
    terminals = {}
    yield folder, env, {"7400": base, "7480": http}, terminals
    for terminal in terminals.values():
        terminal.interrupt()
    shutil.rmtree(folder)


def test_the_tutorial_does_what_it_says(workplace):
    folder, env, ports, terminals = workplace
    blocks = BLOCK.findall(re.sub("|".join(ports), lambda port: str(ports[port[0]]), PAGE.read_text()))
    assert len(blocks) > 10
    for language, mark, text in blocks:
        words = mark.split()
        if language != "console":
            (folder / words[0]).write_text(text)
        elif not words:
            run(text, folder, env)
        else:
            terminal = terminals.setdefault(words[1], Terminal(pathlib.Path(folder), words[1], env))
            if "goes" not in words:
                command, _, text = text.removeprefix("$ ").partition("\n")
                terminal.start(command)
            terminal.shows(text)


def test_every_block_of_the_page_is_marked():
    fences = re.findall(r"^```(\S.*)$", PAGE.read_text(), re.M)
    assert all(re.fullmatch(r"(yaml|python) [\w.]+|console( terminal \d( goes on)?)?", fence) for fence in fences), fences
