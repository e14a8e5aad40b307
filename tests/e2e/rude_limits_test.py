# SPDX-License-Identifier: Apache-2.0
"""Limits and surroundings met rudely: descriptors, file sizes, memory, processes; folders that cannot be written; users, masks, paths,
locales, time zones, variables; bytes that are no text at each door; folders of workflows. docs/operations.md says the same in words."""
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import tempfile

import pytest

from bus import LINESHAFT, PATIENCE_S, SANITIZED, Peer, pack
from cli import run, wait_until
from rude import PRIVATE, Quick, may

SOMEBODY = 60000 + os.getpid() % 4000  # of this process alone: limits count all that a user runs
NOBODY = ("setpriv", f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", "--clear-groups")
NO_WATCHES = ("unshare", "--user", "--map-root-user", "sh", "-c", 'echo 0 >/proc/sys/user/max_inotify_watches && exec "$@"', "sh")
NO_MOUNTS = not may(*PRIVATE, "mount", "-t", "tmpfs", "tmpfs", "/mnt")


@pytest.fixture
def make(tmp_path):
    """make() is the quick start in a folder of that name, make(topology=NODES) a small topology. All ends with the test."""
    made = []

    def make(name="quick", **how):
        made.append(Quick(tmp_path / name / str(len(made)), **how))
        return made[-1]

    yield make
    for quick in made:
        quick.close()


@pytest.fixture
def quick(make):
    return make()


@pytest.fixture
def theirs():
    """theirs() is as make(), in a folder that belongs to NOBODY. It is not below tmp_path, which every start of pytest closes to others."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as made:
        os.chmod(folder, 0o755)

        def make(**how):
            quick = Quick(pathlib.Path(folder) / "quick", **how)
            made.callback(quick.close)
            for path in [quick.folder, *quick.folder.rglob("*")]:
                os.chown(path, SOMEBODY, SOMEBODY)
            return quick

        yield make


def limited(*words):
    return ("sh", "-c", f'ulimit {" ".join(words)}; exec "$@"', "sh")


# ---- limits ----

def test_few_descriptors_are_told_and_hundreds_of_connections_harm_nobody(quick):
    quick.up(*limited("-n 256"))
    assert "the system allows fewer connections than broker.connections_max (ulimit -n)" in quick.run.text
    doors = [(quick.base, b""), (quick.port, b"GET /readyz HTTP/1.1\r\nHost: x\r\nX-Slow: ")] * 300
    peers = [socket.create_connection(("127.0.0.1", port), PATIENCE_S) for port, _ in doors]
    for peer, (_, words) in zip(peers, doors):
        try:
            peer.sendall(words)
        except OSError:
            pass  # it was cut already
    quick.run.wait_for("raise ulimit -n, or find out who opens them")
    for peer in peers:
        peer.close()
    quick.works()
    assert "exited" not in quick.run.text


def test_files_of_many_streams_leave_fewer_descriptors_for_connections(make):
    many = make(topology="  one: { kind: exec, command: sleep 1000 }\n")
    file, streams = many.folder / "config/quickstart.yaml", "".join(f"  s{i}: {{ topics: [s{i}.a] }}\n" for i in range(20))
    file.write_text(file.read_text().replace('">"', "a.b").replace("nodes:\n", streams + "nodes:\n"))
    assert "the broker needs 800, and one more for each connection" in many.refused(*limited("-n 165"))


def test_standard_streams_may_be_closed(make):
    """Neither the warden's pipe nor a file of the log gets the number of one of them."""
    small = make(topology="  one: { kind: exec, command: sleep 1000 }\n")
    small.up("sh", "-c", 'exec "$@" <&- >&-', "sh")
    assert "ok events:" in small.ok("pub", "a.b", "1")


def test_too_few_descriptors_are_refused_in_words(quick):
    assert "the system allows 100 open files (ulimit -n); the broker needs 160" in quick.refused(*limited("-n 100"))


def test_a_limit_of_file_sizes_is_told_and_kills_nobody(quick):
    """ulimit -f counts 512 bytes: less than a segment of the log."""
    quick.up(*limited("-f 4000"))
    quick.run.saw("log-read-only")
    quick.run.saw("File too large: `ulimit -f` is set")
    refused = quick.lineshaft_("pub", "note.made", "{}", "--timeout", "1s")
    assert refused.status != 0 and ("File too large" in refused.err or "BUSY" in refused.err), refused
    assert "SIGXFSZ" not in quick.run.text and "exited" not in quick.run.text
    quick.run.close()
    quick.up().works()


@pytest.mark.skipif(SANITIZED, reason="sanitizers want terabytes of addresses")
def test_a_limit_of_memory_that_is_too_small_is_told(quick):
    quick.begin(*limited("-v 20000"))
    assert quick.run.end() != 0 and quick.run.text  # whoever fails first says so: the loader or the broker


@pytest.mark.skipif(SANITIZED, reason="sanitizers want terabytes of addresses")
def test_a_node_without_memory_ends_with_a_word_and_is_started_again(make):
    small = make(topology="  greedy: { kind: exec, command: 'ulimit -v 30000; exec python3 -c \"bytearray(1 << 30)\"' }\n")
    small.begin()
    small.run.wait_for("MemoryError")
    small.run.wait_for("greedy: exited (exit 1)")
    small.run.wait_for("greedy: starting")


@pytest.mark.skipif(os.geteuid() != 0, reason="root has no such limit, and only root can be somebody else")
def test_a_limit_of_processes_is_told(theirs):
    small = theirs(topology="  a: { kind: exec, command: sleep 1000 }\n")
    small.begin(*NOBODY, "prlimit", "--nproc=2:2")
    small.run.wait_for("broker: cannot make a process (Resource temporarily unavailable), next try in ")
    assert small.run.end(signal.SIGTERM) == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="as above")
def test_a_thread_that_cannot_be_made_is_told(theirs):
    quick = theirs()
    quick.begin(*NOBODY, "prlimit", "--nproc=30:30")
    quick.run.wait_for("Resource temporarily unavailable")
    quick.run.close()
    quick.up().works()


# ---- folders ----

@pytest.mark.skipif(NO_MOUNTS, reason="no private mounts for this user")
def test_a_data_folder_that_is_read_only_is_refused_in_words(quick):
    said = quick.refused(*PRIVATE, "sh", "-c", 'mount --bind . . && mount -o remount,bind,ro . && cd "$PWD" && exec "$@"', "sh")
    assert "cannot create the data directory var/bus: Read-only file system" in said and "nothing is running" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="another user's folder is made as root")
def test_a_folder_of_somebody_else_is_refused_in_words_and_ones_own_is_enough(theirs):
    quick = theirs()
    os.chown(quick.folder, 0, 0)
    assert "cannot create the data directory var/bus: Permission denied; choose another" in quick.refused(*NOBODY)
    os.chown(quick.folder, SOMEBODY, SOMEBODY)
    quick.up(*NOBODY, HOME="/root").works()
    assert {path.stat().st_uid for path in (quick.folder / "var").iterdir()} == {SOMEBODY}


@pytest.mark.parametrize("make_it, why", [(lambda path: path.write_text("x"), "Not a directory"),
                                          (lambda path: path.symlink_to("nowhere"), "No such file or directory")], ids=["file", "dangling"])
def test_what_is_no_folder_in_the_place_of_var_is_refused_in_words(quick, make_it, why):
    make_it(quick.folder / "var")
    said = quick.refused()
    assert f"cannot create the data directory var/bus: {why}; choose another" in said and "LINESHAFT_DATA=" in said
    assert "nothing is running" in said
    quick.up(LINESHAFT_DATA="elsewhere").works()


def test_neither_a_home_nor_a_place_for_temporary_files_is_needed(quick):
    quick.up("env", "-i", f"RUDE={quick.base}", f"LINESHAFT_PORT={quick.base}", f"LINESHAFT_HTTP_PORT={quick.port}").works()
    assert quick.run.end(signal.SIGTERM) == 0
    quick.up(HOME="/nonexistent", TMPDIR="/nonexistent", XDG_RUNTIME_DIR="/nonexistent").works()


def test_a_strict_mask_is_kept(quick):
    quick.up("sh", "-c", 'umask 077; exec "$@"', "sh").works()
    assert [path for path in (quick.folder / "var").rglob("*") if path.lstat().st_mode & 0o77 and not path.is_symlink()] == []


@pytest.mark.parametrize("name", ["it's \"a\" folder, $HOME & %s", "Bücher ✓ 書", "x" * 120])
def test_a_folder_may_be_called_anything(make, name):
    """The last: the artifacts' door is no socket then, whose path would be too long, but a private port."""
    make(name).up().works()


def test_the_program_may_be_a_link(make, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/shaft").symlink_to(LINESHAFT)
    make(lineshaft=tmp_path / "bin/shaft").up().works()


# ---- locale, time zone, variables ----

LOCALE = """comment_char %
escape_char /
""" + "\n".join(f'{part}\ncopy "{of}"\nEND {part}' for part, of in (
    ("LC_CTYPE", "tr_TR"), ("LC_TIME", "tr_TR"), ("LC_NUMERIC", "de_DE"), ("LC_COLLATE", "POSIX"), ("LC_MONETARY", "POSIX"),
    ("LC_MESSAGES", "POSIX")))


@pytest.fixture(scope="session")
def locales(tmp_path_factory):
    """The folder of a locale in which i and I are no pair (Turkish), and a number has a comma (German); made for these tests."""
    folder = tmp_path_factory.mktemp("locales")
    (folder / "source").write_text(LOCALE)
    made = subprocess.run(["localedef", "-c", "-i", folder / "source", "-f", "UTF-8", folder / "tr_TR.UTF-8"],
                          capture_output=True, text=True)
    if not (folder / "tr_TR.UTF-8").is_dir():
        pytest.skip(f"localedef makes no Turkish: {made.stderr[:200]}")
    return folder


@pytest.mark.parametrize("locale, zone", [("tr_TR.UTF-8", "Nowhere/Land"), ("C", ""), ("no_SUCH", ":../../etc/passwd")])
def test_neither_locale_nor_time_zone_changes_anything(quick, locales, locale, zone):
    where = {"LC_ALL": locale, "LANG": locale, "LOCPATH": str(locales), "TZ": zone}
    quick.up(**where)
    (quick.folder / "config/workflows/daily.yaml").write_text(
        'id: daily\nschedule: "0 9 * * FRI"\ntasks:\n  - id: a\n    command: [printf, "%s", "{{ 1.5 + 0.25 }}"]\n    when: "1.5 < 2"\n')
    wait_until(lambda: "daily" in quick.lineshaft_("workflow", "ls", **where).out, "the workflow")
    assert "(Fri 09:00)" in quick.ok("workflow", "ls", **{**where, "TZ": "UTC"})
    assert "| 1.75" in quick.ok("workflow", "run", "daily", "--follow", **where)
    quick.ok("pub", "run.metric", '{"run_id": "r1", "key": "LOSS", "value": 0.25, "step": 1}', **where)
    assert '"value":0.25' in quick.ok("tail", "run.metric", "--all", **where)
    answer = quick.call("POST", "/api/events", '{"topic": "note.made", "data": {"x": 1.5}}', {"CONTENT-TYPE": "APPLICATION/JSON"})
    assert answer.status in (200, 201, 202), answer.body  # headers are compared without regard to case: I and i too


@pytest.mark.parametrize("variable, value, says", [
    ("LINESHAFT_PORT", "abc", "which is not an address"),
    ("LINESHAFT_PORT", "65535", "PORT at most 65531"),
    ("LINESHAFT_HTTP_PORT", "x y", "which is not an address"),
    ("LINESHAFT_HTTP_PORT", b"\xff", "the environment variable LINESHAFT_HTTP_PORT does not hold a short UTF-8 text"),
    ("LINESHAFT_DATA", "/proc/none", "cannot create the data directory /proc/none/bus: No such file or directory")])
def test_rubbish_in_a_variable_of_the_file_is_told_with_its_place(quick, variable, value, says):
    said = quick.refused(**{variable: value})
    assert says in said and ("config/quickstart.yaml:" in said or "broker-refused" in said)


def test_rubbish_in_the_variables_that_up_sets_itself_reaches_no_node(quick):
    quick.up(LINESHAFT_URL="rubbish", LINESHAFT_NODE="other", LINESHAFT_MEMBER="\t", LINESHAFT_OPTIONS="{", LINESHAFT_CONSUMER="o o",
             LINESHAFT_DRAIN_MS="never", LINESHAFT_UP="x", LINESHAFT_TOKEN=b"\xff\xfe").works()


def test_a_rubbish_address_of_the_bus_is_wrong_usage():
    for url in ("rubbish", "tcp://", "tcp://x:y", "tcp://127.0.0.1:99999", "http://127.0.0.1:7400", b"tcp://\xff:1"):
        result = run("pub", "a.b", "x", LINESHAFT_URL=url)
        assert result.status == 2 and "is no broker address; it looks like tcp://127.0.0.1:7400" in result.err, (url, result)


# ---- bytes that are no text ----

def test_bytes_that_are_no_utf8_are_refused_at_each_door(quick):
    import zmq
    quick.up()
    context = zmq.Context()
    peer = Peer(context, zmq.DEALER, quick.url)
    try:
        bad = "caf\udce9".encode("utf-8", "surrogateescape")
        for frames in ([b"HELLO", b"\x82\xa1v\x01\xa6client\xa4" + bad], [b"PUB", b"\x82\xa5topic\xa3a.b\xa2id\xa4" + bad, b"x"],
                       [b"PUB", b"\x82\xa5topic\xa3a.b\xa7subject\xa4" + bad, b"x"], [b"PUB", b"\x81\xa5topic\xa4" + bad, b"x"]):
            peer.send_frames(*frames)
            refused = peer.expect("ERR").head
            assert refused["number"] == 400 and refused["text"].isprintable(), (frames, refused)
        assert peer.ok("PUB", {"topic": "note.made"}, pack({"fine": "é"}))["seq"]
    finally:
        peer.close()
        context.destroy(0)
    for body in (b'{"topic": "a.b", "id": "\xe9"}', b'{"topic": "a.b", "data": "\xe9"}', b'{"topic": "\xe9.b"}'):
        answer = quick.call("POST", "/api/events", body, {"Content-Type": "application/json"})
        assert answer.status == 422 and answer.json["detail"], answer.body
    assert quick.get("/api/events?topic=%E9.b&from=all").status == 422
    for words in (["--id", b"\xe9", "a.b", "x"], ["--subject", b"\xe9", "a.b", "x"], [b"a.\xe9", "x"]):
        result = subprocess.run([LINESHAFT, "pub", *words], capture_output=True, env={**os.environ, "LINESHAFT_URL": quick.url})
        assert result.returncode in (1, 2) and result.stderr.decode("utf-8").strip(), (words, result)
    quick.works()


# ---- folders of workflows ----

@pytest.fixture
def in_memory():
    """The quick start in memory where it can be: thousands of files are slow to make on a busy disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        quick = Quick(pathlib.Path(folder) / "quick")
        yield quick
        quick.close()


@pytest.mark.skipif(SANITIZED, reason="a matter of size")
def test_ten_thousand_workflows_start_and_reload(in_memory):
    quick = in_memory
    folder = quick.folder / "config/workflows"
    for i in range(9997):
        (folder / f"w{i:04}.yaml").write_text(f"id: w{i:04}\ntasks:\n  - id: a\n    command: [echo, number, {i}]\n")
    quick.up()
    wait_until(lambda: quick.lineshaft_("workflow", "ls").out.count("\n") == 10000, "all workflows, and the head of the table")
    (folder / "w0007.yaml").write_text("id: w0007\ntasks:\n  - id: a\n    command: [echo, changed]\n")
    wait_until(lambda: "| changed" in quick.ok("workflow", "run", "w0007", "--follow"), "the new text of one of them")
    for name in ("one-more", "too-many"):
        (folder / f"{name}.yaml").write_text(f"id: {name}\ntasks:\n  - id: a\n    command: [echo]\n")
    quick.run.wait_for("there are more than 10000 workflow files")
    assert "| changed" in quick.ok("workflow", "run", "w0007", "--follow")  # what there was goes on


def test_a_folder_of_workflows_may_go_and_come_back(quick):
    quick.up().works()
    folder = quick.folder / "config/workflows"
    folder.rename(quick.folder / "aside")
    quick.run.wait_for("config/workflows cannot be read: No such file or directory")
    assert "There are no workflows" in quick.lineshaft_("workflow", "ls").err
    (quick.folder / "aside").rename(folder)
    wait_until(lambda: "rude" in quick.lineshaft_("workflow", "ls").out, "the workflows again")
    quick.works()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_a_folder_of_workflows_that_may_not_be_read_forgets_nothing(theirs):
    quick = theirs()
    quick.up(*NOBODY).works()
    folder = quick.folder / "config/workflows"
    folder.chmod(0)
    (folder / "more.yaml").write_text("id: more\n")
    quick.run.wait_for("config/workflows cannot be read: Permission denied")
    assert "success" in quick.ok("workflow", "run", "rude", "--follow")
    folder.chmod(0o755)
    quick.works()


@pytest.mark.skipif(not may(*NO_WATCHES, "true"), reason="no user namespaces here")
def test_a_system_that_watches_no_more_folders_is_told_and_changes_count_after_a_restart(quick):
    quick.up(*NO_WATCHES)
    quick.run.saw("the system watches no more folders (sysctl fs.inotify.max_user_watches)")
    (quick.folder / "config/workflows/late.yaml").write_text("id: late\ntasks:\n  - id: a\n    command: [echo, done]\n")
    wait_until(lambda: "train" in quick.lineshaft_("workflow", "ls").out, "workflows")
    quick.run.close()
    quick.up(*NO_WATCHES)
    wait_until(lambda: "late" in quick.lineshaft_("workflow", "ls").out, "the new one")


def test_a_workflow_that_cannot_be_read_or_is_no_text_harms_no_other(quick):
    folder = quick.folder / "config/workflows"
    (folder / "binary.yaml").write_bytes(b"\xff\xfe\0\x01" * 100)
    (folder / "dangling.yaml").symlink_to("nowhere")
    (folder / "folder.yaml").mkdir()
    os.mkfifo(folder / "pipe.yaml")
    quick.up().works()
    listed = quick.lineshaft_("workflow", "ls")
    assert "binary.yaml" in listed.out + listed.err and "dangling.yaml" in listed.out + listed.err
