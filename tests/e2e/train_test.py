# SPDX-License-Identifier: Apache-2.0
"""lineshaft train: a model out of real text, what it shows on the way, and when it writes nothing."""
import os
import pty
import random
import subprocess

import pytest

from bus import LINESHAFT, PATIENCE_S
from cli import environment, objects, ok, run

FORTUNES = "/usr/share/games/fortunes"


def text_with_a_rule(path, documents=600, seed=5):
    """Each word decides the next but one time in four."""
    pick = random.Random(seed)
    words = [f"{a}{b}" for a in "bdfghklmnp" for b in ("ane", "ile", "our", "est")]
    lines = []
    for _ in range(documents):
        at, line = pick.randrange(len(words)), []
        for _ in range(pick.randint(4, 15)):
            line.append(words[at])
            at = (at * 7 + 3) % len(words) if pick.random() < 0.75 else pick.randrange(len(words))
        lines.append(" ".join(line).capitalize() + ".")
    path.write_text("\n\n".join(lines) + "\n")
    return path


@pytest.fixture
def text(tmp_path):
    return text_with_a_rule(tmp_path / "text.txt")


@pytest.mark.short
def test_on_fortunes_each_order_beats_the_lower_ones_that_count(tmp_path):
    steps = objects(ok("train", "--json", "-o", tmp_path / "fortunes.lsm", FORTUNES))
    measured = {s["order"]: s for s in steps if s["step"] == "measure"}
    assert list(measured) == [1, 2, 3, 4, 5]
    assert measured[5]["perplexity"] < measured[2]["perplexity"] < measured[1]["perplexity"]
    assert measured[5]["bits_per_character"] < 2.3
    done = steps[-1]
    assert (done["step"], done["name"], done["order"]) == ("done", "fortunes", 5)
    assert done["perplexity"] == measured[5]["perplexity"]
    assert done["bytes"] == os.path.getsize(tmp_path / "fortunes.lsm") < 30 << 20
    assert done["memory_bytes"] < 256 << 20 or "asan" in LINESHAFT


def test_the_steps_come_in_order_and_say_what_was_read(text, tmp_path):
    steps = objects(ok("train", "--json", "--order", 2, "--held-out", 10, "--name", "rules", "-o", tmp_path / "m", text))
    assert [s["step"] for s in steps] == ["read", "vocabulary", "count", "count", "measure", "measure", "done"]
    assert steps[0]["documents"] == 600 and steps[0]["bytes"] == text.stat().st_size
    assert 30 < steps[0]["held_out_documents"] < 90
    assert steps[-1]["name"] == "rules" and len(steps[-1]["ngrams"]) == 2


def test_the_table_and_the_same_text_twice(text, tmp_path):
    first = ok("train", "--order", 2, "-o", tmp_path / "a.lsm", text)
    assert first.splitlines()[0].split() == ["ORDER", "N-GRAMS", "PERPLEXITY", "BITS/CHARACTER"]
    assert [line.split()[0] for line in first.splitlines()[1:3]] == ["1", "2"]
    again = ok("train", "--order", 2, "-o", tmp_path / "a.lsm", text)
    version = [out.split("version ")[1].split(",")[0] for out in (first, again)]
    assert version[0] == version[1]
    assert sorted(os.listdir(tmp_path)) == ["a.lsm", "text.txt"]  # nothing half-written is left


def test_indexes_second_names_and_binaries_are_left_out(text, tmp_path):
    folder = tmp_path / "folder"
    (folder / "deeper").mkdir(parents=True)
    text.rename(folder / "deeper" / "text")
    (folder / "deeper" / "text.dat").write_bytes(b"\x01\x02")
    (folder / "deeper" / "text.u8").symlink_to("text")
    (folder / "binary").write_bytes(b"one\0two")
    (folder / ".hidden").write_text("hidden\n")
    read = objects(ok("train", "--json", "--order", 2, "-o", tmp_path / "m", folder, folder / "deeper" / "text"))[0]
    assert (read["files"], read["skipped"], read["documents"]) == (1, 1, 600)


def test_a_terminal_sees_progress_and_a_pipe_does_not(text, tmp_path):
    assert run("train", "--order", 2, "-o", tmp_path / "m", text).err == ""
    master, slave = pty.openpty()
    subprocess.run([LINESHAFT, "train", "--order", "2", "-o", tmp_path / "m", text], stdout=subprocess.DEVNULL, stderr=slave,
                   env=environment(), timeout=PATIENCE_S * 2, check=True)
    os.close(slave)
    shown = os.read(master, 65536).decode()
    os.close(master)
    assert "reading: " in shown and "order 2: perplexity " in shown


def test_a_model_that_is_no_better_than_pairs_is_not_written(tmp_path):
    pick = random.Random(1)
    noise = "\n\n".join(" ".join(f"w{pick.randrange(50)}" for _ in range(12)) for _ in range(2000))
    (tmp_path / "noise").write_text(noise)
    result = run("train", "-o", tmp_path / "m", tmp_path / "noise")
    assert result.status == 1 and "is no better than that of order 2" in result.err
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("content, says", [
    (b"", "there is no text"),
    (b"\n\n \n", "there is no text"),
    (b"a\0b", "1 left out because they are not text"),
    (b"two words\n", "none fell to the 5 per cent"),
])
def test_too_little_text_is_said_so(tmp_path, content, says):
    (tmp_path / "text").write_bytes(content)
    result = run("train", "-o", tmp_path / "m", tmp_path / "text")
    assert result.status == 1 and says in result.err
    assert not (tmp_path / "m").exists()


def test_a_handful_of_words_makes_no_model_even_unmeasured(tmp_path):
    (tmp_path / "text").write_text("two words\n")
    result = run("train", "--held-out", 0, "-o", tmp_path / "m", tmp_path / "text")
    assert result.status == 1 and "at least 1000 are needed" in result.err


def test_without_held_out_text_nothing_is_measured(text, tmp_path):
    steps = objects(ok("train", "--json", "--held-out", 0, "--order", 2, "-o", tmp_path / "m", text))
    assert [s["step"] for s in steps] == ["read", "vocabulary", "count", "count", "done"]
    assert "perplexity" not in steps[-1]


def test_bytes_that_are_no_utf8_are_taken(text, tmp_path):
    text.write_bytes(text.read_bytes() + b"\n\n\xff\xfe caf\xe9 \xc3\x28\n" * 200)
    assert ok("train", "--order", 2, "-o", tmp_path / "m", text)


def test_places_that_cannot_be_written_are_named_before_the_work(text, tmp_path):
    for place, says in ((tmp_path / "no" / "m", "make it first"), (tmp_path, "is a folder"), ("/dev/null", "is no file")):
        result = run("train", "-o", place, text)
        assert result.status == 1 and says in result.err and result.out == ""


def test_a_write_that_fails_is_said_and_leaves_the_old_model(text, tmp_path):
    """A limit on the size of files stands for a full disk. Python ignores its signal, and so does then the command."""
    model = tmp_path / "m"
    model.write_text("the old one")
    limited = ["prlimit", "--fsize=4096", LINESHAFT, "train", "--order", "2", "-o", model, text]
    result = subprocess.run(limited, capture_output=True, text=True, env=environment(), restore_signals=False,
                            timeout=PATIENCE_S * 2)
    assert result.returncode == 1 and "cannot write" in result.stderr
    assert model.read_text() == "the old one"
    assert sorted(os.listdir(tmp_path)) == ["m", "text.txt"]


def test_a_file_that_is_not_there_is_named(text, tmp_path):
    result = run("train", "-o", tmp_path / "m", text, tmp_path / "missing")
    assert result.status == 1 and "missing: No such file" in result.err


@pytest.mark.parametrize("args, says", [
    (["TEXT"], "where should the model go"),
    (["-o", "m"], "which text"),
    (["--order", "7", "-o", "m", "TEXT"], "up to 6"),
    (["--order", "0", "-o", "m", "TEXT"], "--order is at least 1"),
    (["--held-out", "51", "-o", "m", "TEXT"], "up to 50"),
    (["--min-count", "0", "-o", "m", "TEXT"], "--min-count is at least 1"),
    (["--name", "", "-o", "m", "TEXT"], "a model's name"),
    (["--name", "bad\x1bname", "-o", "m", "TEXT"], "a model's name"),
    (["--ordre", "2", "-o", "m", "TEXT"], "did you mean --order"),
])
def test_wrong_usage_is_named(args, says):
    result = run("train", *args)
    assert result.status == 2 and says in result.err
