# SPDX-License-Identifier: Apache-2.0
"""Time zones against Python's zoneinfo, which reads the same files with code of its own: every zone that there is, at random
instants, at its changes and around them, and from civil time back to instants. Environment: LINESHAFT_BUILD, the build folder
(default build); ZONE_SEED."""
import datetime
import os
import pathlib
import random
import subprocess
import zoneinfo

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINE = ROOT / os.environ.get("LINESHAFT_BUILD", "build") / "tests/compat/zone_line"
SEED = int(os.environ.get("ZONE_SEED", "1"))
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
YEAR = 365 * 86400 + 86400 // 4
ZONES = sorted(name for name in zoneinfo.available_timezones() if name not in ("localtime", "Factory"))


def ask(lines):
    """Answers of zone_line; see its head."""
    done = subprocess.run([LINE], input="".join(line + "\n" for line in lines), stdout=subprocess.PIPE, text=True, timeout=120, check=True)
    answers = done.stdout.splitlines()
    assert len(answers) == len(lines)
    return answers


def local(instant, zone):
    return (EPOCH + datetime.timedelta(seconds=instant)).astimezone(zone)


def name_of(instant, zone):
    there = local(instant, zone)
    offset = int(there.utcoffset().total_seconds())
    return f"{offset} {there.year} {there.month} {there.day} {there.hour} {there.minute} {there.second} {there.isoweekday() % 7}"


def changes(zone, first, last):
    """Instants at which the offset differs from the second before, found by halving."""
    found, step, at = [], 10 * 86400, first
    before = local(at, zone).utcoffset()
    while at < last:
        after = local(at + step, zone).utcoffset()
        if after != before:
            low, high = at, at + step
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if local(middle, zone).utcoffset() == before else (low, middle)
            found.append(high)
        at, before = at + step, after
    return found


def instants_of(naive, zone):
    """What zone_instants promises, by way of zoneinfo's `fold`: the real instants of a civil time, and where a gap moves it."""
    def instant(fold):
        there = naive.replace(tzinfo=zone, fold=fold)
        return int((there - EPOCH) / datetime.timedelta(seconds=1))
    early, late = instant(0), instant(1)
    real = [t for t in dict.fromkeys((early, late)) if local(t, zone).replace(tzinfo=None) == naive]
    return real, early


def sample(random_, zone):
    moments = [random_.randrange(-2 * 10**9, 40 * 10**8) for _ in range(40)]
    moments += [random_.randrange(2038 - 1970, 2400 - 1970) * YEAR + random_.randrange(YEAR) for _ in range(20)]
    for change in changes(zone, 0, 8 * YEAR) + changes(zone, 50 * YEAR, 58 * YEAR) + changes(zone, 120 * YEAR, 122 * YEAR):
        moments += [change - 1, change, change + 1, change - random_.randrange(7200), change + random_.randrange(7200)]
    return moments


def test_there_are_zones_to_compare():
    assert len(ZONES) > 400 and "Europe/Berlin" in ZONES


@pytest.mark.parametrize("part", range(8))
def test_an_instant_has_the_name_that_zoneinfo_gives_it(part):
    random_ = random.Random(SEED * 8 + part)
    lines, expected = [], []
    for name in ZONES[part::8]:
        zone = zoneinfo.ZoneInfo(name)
        moments = sample(random_, zone)
        lines += ["Z " + name] + [f"I {m}" for m in moments]
        expected += ["ok"] + [name_of(m, zone) for m in moments]
    for line, answer, right in zip(lines, ask(lines), expected):
        name = line if line.startswith("Z") else name
        assert answer == right, (name, line)


@pytest.mark.parametrize("part", range(8))
def test_a_civil_time_leads_back_to_its_instants(part):
    random_ = random.Random(SEED * 8 + part)
    lines, expected = [], []
    for name in ZONES[part::8]:
        zone = zoneinfo.ZoneInfo(name)
        lines.append("Z " + name)
        expected.append(None)
        for moment in sample(random_, zone):
            # the clock as it would have gone on, so that gaps are met too
            naive = (EPOCH + datetime.timedelta(seconds=moment) + local(moment - 3600, zone).utcoffset()).replace(tzinfo=None)
            lines.append(naive.strftime("C %Y %m %d %H %M %S"))
            expected.append(instants_of(naive, zone))
    for line, answer, right in zip(lines, ask(lines), expected):
        name = line if line.startswith("Z") else name
        if right:
            count, first, second = (int(n) for n in answer.split())
            real, shifted = right
            assert count == len(real), (name, line, answer, right)
            moved = count == 0 and first == shifted and second <= first
            assert moved or [first, second][:count] == real, (name, line, answer, right)


def test_a_wrong_name_gets_the_nearest_right_one():
    near = {"Europe/Berln": "Europe/Berlin", "europe/berlin": "Europe/Berlin", "Lord_Howe": "Australia/Lord_Howe",
            "New York": "America/New_York"}
    for line, right in zip(near, ask(["Z " + name for name in near])):
        assert line == right or f'did you mean "{near[line]}"?' in right, right
    for name in ("../zoneinfo/UTC", "/etc/passwd", "Europe", "", ".", "Europe/..", "Europe//Berlin", "zone.tab", "x" * 5000):
        assert ask(["Z " + name])[0].startswith("bad "), name
