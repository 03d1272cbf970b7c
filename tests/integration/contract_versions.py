#!/usr/bin/env python3
"""contracts/check-versions.py: the tree is clean, and a change of each kind needs at least its bump."""
import copy
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

SRC = pathlib.Path(os.environ.get("ODTO_SRCDIR") or pathlib.Path(__file__).resolve().parents[2])
SCRIPT = SRC / "contracts" / "check-versions.py"
sys.dont_write_bytecode = True
spec = importlib.util.spec_from_file_location("check_versions", SCRIPT)
versions = importlib.util.module_from_spec(spec)
spec.loader.exec_module(versions)

BASE = {
    "$schema": "http://json-schema.org/draft-07/schema#", "$id": "urn:test", "$version": "1.2.3", "title": "T",
    "type": "object", "required": ["id", "kind"],
    "definitions": {"name": {"type": "string", "maxLength": 10}},
    "properties": {
        "id": {"type": "string", "format": "uuid", "description": "d"},
        "kind": {"enum": ["a", "b"]},
        "size": {"type": "integer", "minimum": 1, "maximum": 9},
        "text": {"type": "string", "pattern": "^a", "minLength": 2, "maxLength": 5},
        "list": {"type": "array", "items": {"type": "string"}, "maxItems": 4},
        "either": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "one": {"oneOf": [{"required": ["x"]}, {"required": ["y"]}]},
        "all": {"allOf": [{"minProperties": 1}]},
        "name": {"$ref": "#/definitions/name"},
        "closed": {"type": "object", "properties": {"a": {}}, "additionalProperties": False},
    },
}
NONE, PATCH, MINOR, MAJOR = versions.NONE, versions.PATCH, versions.MINOR, versions.MAJOR


def put(*path_and_value):
    def change(schema):
        *path, last, value = path_and_value
        for key in path:
            schema = schema[key]
        schema[last] = value
    return change


def drop(*path):
    def change(schema):
        for key in path[:-1]:
            schema = schema[key]
        del schema[path[-1]]
    return change


def rename(schema):
    schema["properties"]["volume"] = schema["properties"].pop("size")


P = "properties"
KINDS = [
    ("nothing", lambda s: None, NONE),
    ("title reworded", put("title", "U"), PATCH),
    ("description reworded", put(P, "id", "description", "e"), PATCH),
    ("description added", put(P, "kind", "description", "e"), PATCH),
    ("comment added", put("$comment", "c"), PATCH),
    ("optional field added", put(P, "new", {"type": "string"}), MINOR),
    ("optional field added in a closed object", put(P, "closed", P, "b", {}), MINOR),
    ("enum widened", put(P, "kind", "enum", ["a", "b", "c"]), MINOR),
    ("enum lifted", drop(P, "kind", "enum"), MINOR),
    ("type widened", put(P, "id", "type", ["string", "null"]), MINOR),
    ("integer to number", put(P, "size", "type", "number"), MINOR),
    ("type lifted", drop(P, "size", "type"), MINOR),
    ("field no longer required", put("required", ["id"]), MINOR),
    ("minimum lower", put(P, "size", "minimum", 0), MINOR),
    ("maximum higher", put(P, "size", "maximum", 10), MINOR),
    ("maximum lifted", drop(P, "size", "maximum"), MINOR),
    ("minLength lower", put(P, "text", "minLength", 1), MINOR),
    ("pattern lifted", drop(P, "text", "pattern"), MINOR),
    ("format lifted", drop(P, "id", "format"), MINOR),
    ("closed object opened", drop(P, "closed", "additionalProperties"), MINOR),
    ("anyOf with a choice more", put(P, "either", "anyOf", [{"type": "string"}, {"type": "null"}, {"type": "array"}]), MINOR),
    ("allOf lifted", drop(P, "all", "allOf"), MINOR),
    ("definition relaxed", put("definitions", "name", "maxLength", 11), MINOR),
    ("field removed", drop(P, "text"), MAJOR),
    ("field renamed", rename, MAJOR),
    ("field in a field removed", drop(P, "closed", P, "a"), MAJOR),
    ("enum narrowed", put(P, "kind", "enum", ["a"]), MAJOR),
    ("enum value replaced", put(P, "kind", "enum", ["a", "c"]), MAJOR),
    ("enum introduced", put(P, "text", "enum", ["ab"]), MAJOR),
    ("type changed", put(P, "id", "type", "integer"), MAJOR),
    ("number to integer", put(P, "size", "type", "null"), MAJOR),
    ("type introduced", put(P, "kind", "type", "string"), MAJOR),
    ("new required field", lambda s: (put(P, "new", {})(s), put("required", ["id", "kind", "new"])(s)), MAJOR),
    ("optional field made required", put("required", ["id", "kind", "size"]), MAJOR),
    ("minimum higher", put(P, "size", "minimum", 2), MAJOR),
    ("maximum lower", put(P, "size", "maximum", 8), MAJOR),
    ("exclusiveMinimum introduced", put(P, "size", "exclusiveMinimum", 0), MAJOR),
    ("pattern changed", put(P, "text", "pattern", "^b"), MAJOR),
    ("format introduced", put(P, "text", "format", "date"), MAJOR),
    ("items restricted", put(P, "list", "items", "minLength", 1), MAJOR),
    ("uniqueItems introduced", put(P, "list", "uniqueItems", True), MAJOR),
    ("object closed", put("additionalProperties", False), MAJOR),
    ("object restricted", put("additionalProperties", {"type": "string"}), MAJOR),
    ("anyOf with a choice less", put(P, "either", "anyOf", [{"type": "string"}]), MAJOR),
    ("oneOf with a choice more", put(P, "one", "oneOf", [{"required": ["x"]}, {"required": ["y"]}, {"required": ["z"]}]), MAJOR),
    ("allOf with more to fulfil", put(P, "all", "allOf", [{"minProperties": 1}, {"maxProperties": 3}]), MAJOR),
    ("not introduced", put("not", {"required": ["z"]}), MAJOR),
    ("schema to false", put(P, "id", False), MAJOR),
    ("definition tightened", put("definitions", "name", "maxLength", 9), MAJOR),
    ("other $ref", put(P, "name", "$ref", "#"), MAJOR),
    ("other $id", put("$id", "urn:other"), MAJOR),
    ("unknown keyword", put("surprise", 1), MAJOR),
]
BUMPED = {NONE: "1.2.3", PATCH: "1.2.4", MINOR: "1.3.0", MAJOR: "2.0.0"}


def kind_is(change, level):
    new = copy.deepcopy(BASE)
    change(new)
    assert (versions.compare(BASE, new) or [(NONE,)])[0][0] == level, versions.compare(BASE, new)
    for bump, version in BUMPED.items():
        new["$version"] = version
        problems = versions.check_schema("test", BASE, new)
        assert (not problems) == (bump >= level), (version, problems)


def tree_is_clean():
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def run_on_copy(spoil, *words):
    """The script as the build runs it, on a copy of contracts/ with one thing changed."""
    with tempfile.TemporaryDirectory() as d:
        root = pathlib.Path(d) / "contracts"
        for part in ("schemas", "released"):
            shutil.copytree(SRC / "contracts" / part, root / part)
        shutil.copy(SRC / "contracts" / "VERSIONS.md", root)
        for path in [root, *root.rglob("*")]:
            path.chmod(0o755)  # a distribution is unpacked read-only
        spoil(root)
        done = subprocess.run([sys.executable, str(SCRIPT), str(root)], capture_output=True, text=True)
        assert done.returncode == 1, done.stdout
        for word in words:
            assert word in done.stderr, done.stderr


def edit(file, old, new):
    def spoil(root):
        text = (root / file).read_text(encoding="utf-8")
        assert old in text
        (root / file).write_text(text.replace(old, new, 1), encoding="utf-8")
    return spoil


SPOILED = [
    ("breaking change under a MINOR bump", edit("schemas/job.json", '"PENDING", "VALIDATED"', '"PENDING"'),
     ["job: /properties/status/enum", "a MAJOR change, but 1.0.0 -> 1.1.0 is a MINOR bump"]),
    ("change without a bump", edit("schemas/job-accepted.json", '"title": "Job accepted"', '"title": "Accepted"'),
     ["job-accepted: /title: wording: a PATCH change", "no bump"]),
    ("version goes back", edit("schemas/job.json", '"1.1.0"', '"0.9.0"'), ["0.9.0 is lower than the released 1.0.0"]),
    ("version is no SemVer", edit("schemas/job.json", '"1.1.0"', '"1.1"'), ["$version must be MAJOR.MINOR.PATCH"]),
    ("no $id", edit("schemas/job.json", '"$id"', '"id"'), ["job: $id is missing"]),
    ("two with one $id", edit("schemas/job.json", "schema:job", "schema:dead-letter"), ["has the $id of"]),
    ("not listed", edit("VERSIONS.md", "| `job` |", "| job |"), ["VERSIONS.md: `job` must be listed"]),
    ("listed with another version", edit("VERSIONS.md", "| `job` | 1.1.0", "| `job` | 1.0.0"), ["`job` must be listed"]),
    ("listed but gone", lambda root: (root / "schemas/job.json").unlink(), ["job: is released, but gone", "no such schema"]),
]


def main():
    tests = [("the tree is clean", tree_is_clean)]
    tests += [("%s: %s" % (versions.LEVEL[level], name), lambda c=change, l=level: kind_is(c, l))
              for name, change, level in KINDS]
    tests += [("refused: " + name, lambda s=spoil, w=words: run_on_copy(s, *w)) for name, spoil, words in SPOILED]
    print("1..%d" % len(tests))
    failed = False
    for i, (name, run) in enumerate(tests, 1):
        try:
            run()
            print("ok %d - %s" % (i, name))
        except AssertionError as e:
            failed = True
            print("not ok %d - %s\n# %s" % (i, name, str(e).replace("\n", "\n# ")))
    return failed


if __name__ == "__main__":
    sys.exit(main())
