#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the pictures in docs/pictures anew, from the running quick start: `make pictures`."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from quickstart import ROOT, QuickStart  # noqa: E402

PICTURES = ROOT / "docs" / "pictures"
QUESTIONS = ["Tell me a fortune", "And one about work?", "What is luck?"]


def terminal(quick, *args):
    """What the command shows on a terminal of 150 columns, colours and all, as HTML."""
    words = " ".join([quick.program, *args])
    shown = subprocess.run(["script", "-qefc", f"stty cols 150; {words}", "/dev/null"], cwd=ROOT, stdin=subprocess.DEVNULL,
                           env={**quick.env, "TERM": "xterm-256color"}, capture_output=True, timeout=60).stdout
    return subprocess.run(["aha", "--black", "--title", "lineshaft"], input=shown.replace(b"\r", b""), capture_output=True,
                          check=True).stdout


def main(program):
    folder = tempfile.mkdtemp(prefix="lineshaft-pictures-")
    quick = QuickStart(program, folder)
    try:
        quick.run("workflow", "run", "train", "--run", "first", "--wait")
        quick.run("tail", "model.loaded", "--all", "-f", "--count", 2)
        for question in QUESTIONS:
            quick.chat(question)
        for order in (2, 3, 4):
            quick.run("workflow", "run", "train", "--input", f"order={order}", "--wait")
        page = pathlib.Path(folder) / "trace.html"
        page.write_bytes(terminal(quick, "tail", "--trace", "first", "--no-follow"))
        subprocess.run(["node", str(HERE / "pictures.mjs"), quick.http, page.as_uri(), str(PICTURES)], cwd=HERE, check=True, timeout=300)
    finally:
        quick.close()
        shutil.rmtree(folder, ignore_errors=True)
    for picture in sorted(PICTURES.glob("*.png")):
        print(f"{os.path.relpath(picture, ROOT)}: {picture.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "build" / "lineshaft"))
