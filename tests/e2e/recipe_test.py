# SPDX-License-Identifier: Apache-2.0
"""CONTRIBUTING.md, "A node kind": its files are a whole kind in fewer than 60 lines, and what it shows is what happens.

    ```c PATH, ```yaml NAME        a file
    ```console                     commands (`$ ...`) and what they print; `...` stands for anything
"""
import os
import pathlib
import re
import shlex
import shutil
import subprocess

import pytest
import zmq

import cli
from bus import ROOT, Peer, free_base
from cli import wait_until
from tutorial_test import missing

BUILD = pathlib.Path(os.environ.get("LINESHAFT_BUILD", ROOT / "build")).resolve()
BLOCK = re.compile(r"^```(c|yaml|console)\b *(\S*)\n(.*?)^```$", re.M | re.S)
LINES_MAX = 60
BUILD_SECONDS = 300  # far more than it takes: only a build that hangs runs into it


def recipe():
    """(form, name, text) of each block."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    return BLOCK.findall(text[text.index("**A node kind.**"):text.index("\n## ", text.index("**A node kind.**"))])


def copy_source(to):
    def skip(folder, names):
        top = pathlib.Path(folder) == ROOT
        return [n for n in names if n in ("node_modules", "__pycache__") or (pathlib.Path(folder) / n).resolve() == BUILD
                or (top and (n.startswith((".", "build")) or n in ("var", "tests", "docs")))]

    shutil.copytree(ROOT, to, ignore=skip, symlinks=True)


def copy_objects(to):
    """What was built, with its times, so that little is compiled anew."""
    for path in BUILD.rglob("*"):
        name = path.relative_to(BUILD)
        wanted = path.suffix in (".o", ".d", ".c", ".S") or name.parts[0] == "page"
        if path.is_dir() or not wanted or name.parts[0] in ("tests", "npm", "ci"):
            continue
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, to / name)
        if path.suffix == ".d":  # "build/lib/buf.o: lib/buf.c ...": it names the folder that it was built in
            (to / name).write_text(re.sub(r"\A[^:]*:", f"build/{name.with_suffix('.o')}:", path.read_text()))


def make(tree, *targets):
    """Builds with the compiler and flags of the build that is tested, and warnings as errors."""
    compiler, flags = (BUILD / "flags").read_text().strip().split(" ", 1)
    ours = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "B", "SAN", "OPT", "WERROR", "CFLAGS")
    env = {k: v for k, v in os.environ.items() if k not in ours}
    done = subprocess.run(["make", "--no-print-directory", "B=build", f"CC={compiler}", f"CFLAGS={flags} -Werror", *targets],
                          cwd=tree, env=env, capture_output=True, text=True, timeout=BUILD_SECONDS)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout


@pytest.fixture
def tree(tmp_path):
    """A copy of the project with the kind in it, built."""
    tree = tmp_path / "tree"
    copy_source(tree)
    copy_objects(tree / "build")
    make(tree, "build/flags")
    then = (BUILD / "flags").stat()
    os.utime(tree / "build" / "flags", ns=(then.st_atime_ns, then.st_mtime_ns))  # -Werror alone makes no object stale
    for _, name, text in recipe():
        if name:
            (tree / name).parent.mkdir(exist_ok=True)
            (tree / name).write_text(text)
    kinds = tree / "nodes" / "kinds.h"
    kinds.write_text(kinds.read_text().replace("    KIND(", "    KIND(shout) \\\n    KIND(", 1))
    said = make(tree, "build/lineshaft", "build/lineshaft-node")
    assert all(f"nodes/shout/{name}.c" in said for name in ("kind", "shout")), said
    return tree


def numbers_of(client, url):
    """What a node told of itself last."""
    with zmq.Context() as context:
        peer = Peer(context, zmq.DEALER, url)
        [session] = [s for s in peer.ok("ADM", op="sessions")["sessions"] if s["client"] == client]
        peer.socket.close()
    return session.get("stats", {})


def test_a_kind_takes_fewer_than_60_lines():
    files = {name: text for form, name, text in recipe() if form == "c"}
    assert sorted(files) == ["nodes/shout/kind.c", "nodes/shout/options.h", "nodes/shout/shout.c"]
    in_the_list_of_kinds = 1
    assert sum(text.count("\n") for text in files.values()) + in_the_list_of_kinds < LINES_MAX


def test_the_kind_of_the_recipe_builds_and_does_what_the_page_shows(tree, monkeypatch):
    monkeypatch.setattr(cli, "LINESHAFT", str(tree / "build" / "lineshaft"))
    [page] = [text for form, _, text in recipe() if form == "console"]
    dialogue = re.findall(r"^\$ ([^\n]+)\n((?:[^$\n][^\n]*\n)*)", page, re.M)
    assert dialogue.pop(0)[0] == "make && build/lineshaft up shout.yaml"
    port = free_base()
    url = f"tcp://127.0.0.1:{port}"
    with cli.Background("up", "shout.yaml", cwd=tree, LINESHAFT_PORT=str(port), LINESHAFT_HB_MS="1000") as up:
        up.wait_for("loud connected")
        for command, shown in dialogue:
            said = []

            def shows():
                said[:] = [cli.ok(*shlex.split(command, comments=True)[1:], url=url)]
                return missing(shown.replace("... ", ""), said[0]) is None

            wait_until(shows, f"what the page shows for {command}: {said}")
        cli.ok("pub", "note.said", '{"words": 1}', url=url)
        wait_until(lambda: 'lacks "text", a string' in cli.ok("dlq", "ls", "loud", url=url), "a dead letter")
        refused = cli.run("req", "note.shout", '{"text": 1}', url=url)
        assert refused.status == 1 and '"text" in the body is a whole number; it must be a string' in refused.err
        assert "letters made large" in cli.ok("help", "node", "shout")
        wait_until(lambda: numbers_of("loud", url).get("shout_letters_total") == 2 * len("HELLO"), "the number of letters")
        assert up.end(cli.signal.SIGINT) == 0
        assert not [line for line in up.seen if " error " in line], up.seen
