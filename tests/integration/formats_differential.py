#!/usr/bin/env python3
"""uuid and date-time as the contract words them, written once more in Python, against the library: thousands of values near
the border between good and bad."""
import calendar
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile

SRC = pathlib.Path(os.environ.get("ODTO_SRCDIR") or pathlib.Path(__file__).resolve().parents[2])
BUILD = pathlib.Path(os.environ.get("ODTO_BUILDDIR") or SRC / "build")
CLI = BUILD / "tests" / "unit" / "contracts_cli"
CHUNK = 900  # the command shows at most 1000 errors

UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
DATE_TIME = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]+)?"
                       r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))")


def is_uuid(text):
    return UUID.fullmatch(text) is not None


def is_date_time(text):
    match = DATE_TIME.fullmatch(text)
    if not match:
        return False
    year, month, day, hour, minute, second = (int(g) for g in match.groups()[:6])
    sign, off_hour, off_minute = match.group(7), int(match.group(8) or 0), int(match.group(9) or 0)
    # the calendar module has no year 0, which has the days of 400
    if not 1 <= month <= 12 or not 1 <= day <= calendar.monthrange(year or 400, month)[1]:
        return False
    if hour > 23 or minute > 59 or second > 60 or off_hour > 23 or off_minute > 59:
        return False
    if second == 60:
        offset = (off_hour * 60 + off_minute) * (-1 if sign == "-" else 1)
        return (hour * 60 + minute - offset) % 1440 == 1439
    return True


def mutate(rng, text):
    alphabet = "0123456789abcdefABCDEFgGzZtT+-:. ,\u0661\u2212/"
    for _ in range(rng.choice([0, 1, 1, 1, 2])):
        at = rng.randint(0, len(text))
        text = rng.choice([text[:at] + rng.choice(alphabet) + text[at + 1:], text[:at] + rng.choice(alphabet) + text[at:],
                           text[:at] + text[at + 1:]])
    return text


def uuids(rng):
    for text in ("00000000-0000-0000-0000-000000000000", "urn:uuid:01890a5d-ac96-774b-bcce-b302099a8057", "",
                 "{01890a5d-ac96-774b-bcce-b302099a8057}", "01890A5D-AC96-F74B-0CCE-B302099A8057", "01890a5dac96774bbcceb302099a8057"):
        yield text
    while True:
        digits = "".join(rng.choice("0123456789abcdefABCDEF") for _ in range(32))
        yield mutate(rng, "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])))


def date_times(rng):
    edge = lambda low, high: rng.choice([low, high, low, high, low - 1, high + 1, rng.randint(low, high)])
    for text in ("2025-01-01", "2025-01-01T00:00:00", "2025-01-01 00:00:00Z", "2016-12-31T23:59:60Z", "2025-01-01T12:00:60Z",
                 "2016-12-31T15:59:60-08:00", "2025-01-01T00:00:00.Z", "2025-02-29T00:00:00Z", "2024-02-29t00:00:00z", ""):
        yield text
    while True:
        year = rng.choice([0, 4, 100, 400, 1900, 1972, 2000, 2016, 2023, 2024, 2100, 9999])
        zone = rng.choice(["Z", "z", "%s%02d:%02d" % (rng.choice("+-"), abs(edge(0, 23)), abs(edge(0, 59))), "-08:00", "+05:30"])
        time = rng.choice(["%02d:%02d:%02d" % (abs(edge(0, 23)), abs(edge(0, 59)), abs(edge(0, 60))), "23:59:60", "15:59:60", "05:29:60"])
        date = "%04d-%02d-%02d" % (year, abs(edge(1, 12)), abs(edge(28, 31)))
        text = date + rng.choice("TTTt") + time + rng.choice(["", ".5", ".123456789012", "."]) + zone
        yield text if rng.random() < 0.7 else mutate(rng, text)


def verdicts(name, values):
    """Indexes of the values that are not of the format."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as schema:
        json.dump({"items": {"format": name}}, schema)
        schema.flush()
        done = subprocess.run([str(CLI), "contracts", "validate", "--json", "--schema", schema.name, "-"],
                              input=json.dumps(values).encode(), capture_output=True)
    return {int(e["path"][1:]) for e in json.loads(done.stdout)["errors"]}


def compare(name, generator, oracle, count, rng):
    values, differ, good = generator(rng), [], 0
    for _ in range(count // CHUNK):
        chunk = [next(values) for _ in range(CHUNK)]
        bad = verdicts(name, chunk)
        for i, value in enumerate(chunk):
            good += oracle(value)
            if oracle(value) == (i in bad):
                differ.append(value)
    return differ, good


def main():
    rng = random.Random(int(os.environ.get("ODTO_SEED", "1")))
    count = int(os.environ.get("ODTO_FORMAT_VALUES", "18000"))
    print("1..2")
    failed = False
    for i, (name, generator, oracle) in enumerate((("uuid", uuids, is_uuid), ("date-time", date_times, is_date_time)), 1):
        differ, good = compare(name, generator, oracle, count, rng)
        for value in differ[:10]:
            print("# %r: ours says %s" % (value, not oracle(value)))
        ok = not differ and count * 0.05 < good < count * 0.95
        failed |= not ok
        print("%sok %d - %s: %d values, %d of them good" % ("" if ok else "not ", i, name, count, good))
    return failed


if __name__ == "__main__":
    sys.exit(main())
