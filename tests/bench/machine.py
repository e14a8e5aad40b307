# SPDX-License-Identifier: Apache-2.0
"""What a benchmark figure depends on and a reader must be told: machine, disk, versions, load."""
import json
import os
import subprocess

import servers


def output(argv):
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def file_system(folder):
    return output(["findmnt", "-no", "FSTYPE", "-T", folder]) or "unknown"


def require_disk(folder):
    kind = file_system(folder)
    if kind in ("tmpfs", "ramfs"):
        raise SystemExit(f"bench: {folder} is on {kind}, where a sync costs nothing; give a build folder on a disk (B=...)")


def processor():
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return os.uname().machine


def memory_gib():
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)


def load():
    return f"{os.getloadavg()[0]:.2f}"


def versions():
    found = {"libzmq": output(["pkg-config", "--modversion", "libzmq"])}
    redis = servers.find_program("redis-server")
    nats = servers.find_program("nats-server")
    if redis:  # Redis server v=7.0.15 sha=...
        found["redis-server"] = output([redis, "--version"]).partition("v=")[2].partition(" ")[0]
    if nats:  # nats-server: v2.9.10
        found["nats-server"] = output([nats, "--version"]).partition("v")[2].partition("v")[2]
    return {name: version for name, version in found.items() if version}


def facts(folder, disk_probe):
    """`folder`: where the servers will keep their data; `disk_probe`: the program client_disk."""
    before = load()
    sync = output([disk_probe, "fdatasync", "ack1", "4096", "1000", "1", folder])
    return {
        "kernel": os.uname().release,
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gib": memory_gib(),
        "file_system": file_system(folder),
        "fdatasync_4k_p50_us": json.loads(sync)["p50_us"] if sync else None,
        "versions": versions(),
        "load_before": before,
    }


def facts_after():
    return {"load_after": load()}


def text(known):
    return (f"{known['processor']}, {known['cores']} cores, {known['memory_gib']} GiB, Linux {known['kernel']}, "
            f"{known['file_system']}; fdatasync of 4 KiB p50 {known['fdatasync_4k_p50_us']:.0f} us; load {known['load_before']}; "
            + ", ".join(f"{name} {version}" for name, version in known["versions"].items()))
