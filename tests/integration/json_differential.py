#!/usr/bin/env python3
"""The strict JSON reader against Python's: the same verdict on thousands of texts made by mutating good and bad ones.

Python's json is made as strict as RFC 8259 and our bounds: UTF-8 only, no NaN, no duplicate names, no lone surrogates, no NUL in a
name, integers within 64 bits."""
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

SRC = pathlib.Path(os.environ.get("ODTO_SRCDIR") or pathlib.Path(__file__).resolve().parents[2])
BUILD = pathlib.Path(os.environ.get("ODTO_BUILDDIR") or SRC / "build")
CLI = BUILD / "tests" / "unit" / "contracts_cli"
TEXTS = int(os.environ.get("ODTO_JSON_TEXTS", "6000"))

SEEDS = [
    '{"id":"01890a5d-ac96-774b-bcce-b302099a8057","n":[1,-2.5e3,true,null,{"deep":[]}],"s":"012345678901234"}',
    '[0,-0,1.5,1E+5,0e0,9223372036854775807,-9223372036854775808,18446744073709551615]',
    '"\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\ud83d\\udc32 h\u00e9 \U0001f432"',
    ' \t\r\n{ "a" : { "a" : 1 , "b" : [ { } , [ ] ] } , "\\u0062" : "x" } \n',
    '{"a":1,"a\\u0020":2,"A":3,"\\u00e9":4,"e\u0301":5}',
    '[[[[1]]],{"x":{"y":{"z":"}]\\""}}},"{[\\\\"]',
    "null", "true", "-1", '""',
]
PIECES = ['"', "\\", "\\u", "\\ud83d", "\\udc32", "\\u0000", "{", "}", "[", "]", ",", ":", "0", "1", "-", ".", "e", "+", " ", "\n", "\t",
          "\x01", "\x7f", "\u00e9", "\U0001f432", "true", "null", "NaN", "Infinity", "'", "/", "//", "/**/", '"a":1,', "18446744073709551616",
          "\ufeff", "\u00a0", "\u2028"]


class Bad(ValueError):
    pass


def members(pairs):
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names) or any("\0" in name for name in names):
        raise Bad("names")
    return dict(pairs)


def integer(text):
    value = int(text)
    if not -2 ** 63 <= value < 2 ** 64:
        raise Bad("integer")
    return value


def constant(text):
    raise Bad(text)


def strings(value):
    if isinstance(value, str):
        value.encode("utf-8")  # a lone surrogate is an error
    for key in value if isinstance(value, (list, dict)) else ():
        strings(key)
        if isinstance(value, dict):
            strings(value[key])


def python_accepts(data):
    try:
        strings(json.loads(data.decode("utf-8"), object_pairs_hook=members, parse_int=integer, parse_constant=constant))
        return True
    except (ValueError, RecursionError):
        return False


def texts(rng):
    for seed in SEEDS:
        yield seed.encode()
    for _ in range(TEXTS):
        text = rng.choice(SEEDS)
        for _ in range(rng.randint(1, 3)):
            at, cut = rng.randint(0, len(text)), rng.randint(0, 3)
            text = text[:at] + rng.choice(["", rng.choice(PIECES), rng.choice(PIECES)]) + text[at + cut * rng.randint(0, 1):]
        data = bytearray(text.encode())
        if data and rng.random() < 0.15:
            data[rng.randrange(len(data))] = rng.randrange(256)
        yield bytes(data)


def main():
    seed = int(os.environ.get("ODTO_SEED", "1"))
    cases = sorted(set(texts(random.Random(seed))))
    with tempfile.TemporaryDirectory() as d:
        (pathlib.Path(d) / "any.json").write_text("{}")
        names = []
        for i, data in enumerate(cases):
            names.append(str(pathlib.Path(d) / str(i)))
            pathlib.Path(names[-1]).write_bytes(data)
        done = subprocess.run([str(CLI), "contracts", "validate", "--json", "--schema", d + "/any.json", *names], capture_output=True)
        ours = [json.loads(line) for line in done.stdout.splitlines()]
    print("1..3")
    same = len(ours) == len(cases)
    print("%sok 1 - %d texts answered" % ("" if same else "not ", len(cases)))
    differ = [(data, answer) for data, answer in zip(cases, ours) if answer["valid"] != python_accepts(data)]
    for data, answer in differ[:10]:
        print("# %r: ours %s" % (data, answer))
    print("%sok 2 - the same verdict (seed %d)" % ("not " if differ else "", seed))
    accepted = sum(a["valid"] for a in ours)
    balanced = len(cases) * 0.05 < accepted < len(cases) * 0.95
    print("%sok 3 - of both kinds: %d accepted" % ("" if balanced else "not ", accepted))
    return not same or bool(differ) or not balanced


if __name__ == "__main__":
    sys.exit(main())
