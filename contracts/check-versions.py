#!/usr/bin/env python3
"""Compares every schema of contracts/schemas/ with its last released version in contracts/released/ and fails on a change
larger than its bump, on a $id or $version that is missing, malformed or not listed in VERSIONS.md.

usage: check-versions.py [--release] [DIRECTORY of contracts]

MAJOR: what was valid may no longer be, or a field that others read is gone. MINOR: a new optional field, or more is valid.
PATCH: wording. --release makes the current schemas the released ones (done once, when a version is tagged)."""
import json
import os
import re
import shutil
import sys

NONE, PATCH, MINOR, MAJOR = range(4)
LEVEL = ("none", "PATCH", "MINOR", "MAJOR")
TYPES = {"null", "boolean", "integer", "fraction", "string", "array", "object"}  # number = integer + fraction
WORDING = {"$version", "title", "description", "$comment", "examples", "default", "readOnly", "writeOnly"}
LOWER = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
UPPER = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}
STRICTER = {"pattern", "format", "multipleOf", "uniqueItems", "contains", "propertyNames", "not", "if", "then", "else",
            "dependencies", "additionalItems", "patternProperties", "const"}
ABSENT = object()


def child(path, key):
    return path + "/" + str(key).replace("~", "~0").replace("/", "~1")


def types(schema):
    value = schema.get("type", ABSENT)
    if value is ABSENT:
        return set(TYPES)
    names = set(value if isinstance(value, list) else [value])
    return (names | {"integer", "fraction"}) - {"number"} if "number" in names else names


class Comparison:
    """Collects (level, path, text) of every difference between two schemas."""

    def __init__(self):
        self.found = []

    def add(self, level, path, text):
        self.found.append((level, path or "/", text))

    def schema(self, old, new, path):
        if isinstance(old, bool) or isinstance(new, bool):
            if old != new:
                opened = new is True or (new == {} and old is False)
                self.add(MINOR if opened else MAJOR, path, "was %s" % json.dumps(old))
            return
        self.types(old, new, path)
        self.enum(old, new, path)
        self.required(old, new, path)
        self.properties(old, new, path)
        for key in sorted(set(old) | set(new)):
            self.keyword(key, old.get(key, ABSENT), new.get(key, ABSENT), child(path, key))

    def types(self, old, new, path):
        before, after = types(old), types(new)
        if before - after:
            self.add(MAJOR, child(path, "type"), "no longer %s" % ", ".join(sorted(before - after)))
        elif after - before:
            self.add(MINOR, child(path, "type"), "also %s" % ", ".join(sorted(after - before)))

    def enum(self, old, new, path):
        if "enum" not in old and "enum" not in new:
            return
        if "enum" not in old:
            self.add(MAJOR, child(path, "enum"), "only some values are allowed now")
        elif "enum" not in new:
            self.add(MINOR, child(path, "enum"), "all values are allowed now")
        else:
            before = {json.dumps(v, sort_keys=True) for v in old["enum"]}
            after = {json.dumps(v, sort_keys=True) for v in new["enum"]}
            for value in sorted(before - after):
                self.add(MAJOR, child(path, "enum"), "no longer %s" % value)
            for value in sorted(after - before):
                self.add(MINOR, child(path, "enum"), "also %s" % value)

    def required(self, old, new, path):
        before, after = set(old.get("required", [])), set(new.get("required", []))
        for name in sorted(after - before):
            self.add(MAJOR, child(path, "required"), "%s has become required" % name)
        for name in sorted(before - after):
            self.add(MINOR, child(path, "required"), "%s is no longer required" % name)

    def properties(self, old, new, path):
        before, after = old.get("properties", {}), new.get("properties", {})
        for name in before:
            if name not in after:
                self.add(MAJOR, child(child(path, "properties"), name), "removed or renamed")
            else:
                self.schema(before[name], after[name], child(child(path, "properties"), name))
        for name in after:
            if name not in before:
                self.add(MINOR, child(child(path, "properties"), name), "new")

    def keyword(self, key, old, new, path):
        if key in ("type", "enum", "required", "properties") or json.dumps(old, default=str) == json.dumps(new, default=str):
            return
        if key in WORDING:
            self.add(PATCH, path, "wording")
        elif key in LOWER or key in UPPER:
            self.bound(key, old, new, path)
        elif key in ("additionalProperties", "items"):
            self.rest(key, old, new, path)
        elif key in ("anyOf", "oneOf", "allOf"):
            self.branches(key, old, new, path)
        elif key == "definitions":
            for name in set(old if old is not ABSENT else {}) & set(new if new is not ABSENT else {}):
                self.schema(old[name], new[name], child(path, name))
        elif key in STRICTER:
            self.add(MINOR if new is ABSENT else MAJOR, path, "removed" if new is ABSENT else "new or changed")
        else:  # $id, $ref, $schema, and what nobody has thought of
            self.add(MAJOR, path, "changed")

    def bound(self, key, old, new, path):
        if new is ABSENT:
            self.add(MINOR, path, "removed")
        elif old is ABSENT or (new > old) == (key in LOWER):
            self.add(MAJOR, path, "tighter")
        else:
            self.add(MINOR, path, "wider")

    def rest(self, key, old, new, path):
        old = True if old is ABSENT else old
        new = True if new is ABSENT else new
        if isinstance(old, list) or isinstance(new, list):
            if not (isinstance(old, list) and isinstance(new, list) and len(old) == len(new)):
                self.add(MAJOR, path, "other items")
                return
            for i, pair in enumerate(zip(old, new)):
                self.schema(pair[0], pair[1], child(path, i))
        elif old is True and isinstance(new, dict):
            self.add(MAJOR if new else NONE, path, "restricted")
        else:
            self.schema(old, new, path)

    def branches(self, key, old, new, path):
        before = [json.dumps(s, sort_keys=True) for s in (old if old is not ABSENT else [])]
        after = [json.dumps(s, sort_keys=True) for s in (new if new is not ABSENT else [])]
        gone, come = [s for s in before if s not in after], [s for s in after if s not in before]
        if old is ABSENT or (gone and come):
            self.add(MAJOR, path, "new or changed")
        elif new is ABSENT:
            self.add(MINOR, path, "removed")
        elif key == "allOf":
            self.add(MAJOR if come else MINOR, path, "more to fulfil" if come else "less to fulfil")
        elif gone:
            self.add(MAJOR, path, "a choice is gone")
        else:
            self.add(MINOR if key == "anyOf" else MAJOR, path, "a choice more")


def compare(old, new):
    c = Comparison()
    c.schema(old, new, "")
    return sorted((d for d in c.found if d[0] != NONE), key=lambda d: -d[0])


def semver(text):
    match = re.fullmatch(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", text) if isinstance(text, str) else None
    return tuple(int(n) for n in match.groups()) if match else None


def bump(old, new):
    """The level of the step between two versions; None if it goes back or skips what it must reset."""
    if new == old:
        return NONE
    if new[0] > old[0]:
        return MAJOR
    if new[0] == old[0] and new[1] > old[1]:
        return MINOR
    if new[:2] == old[:2] and new[2] > old[2]:
        return PATCH
    return None


def check_schema(name, old, new):
    """Problems of one schema as text."""
    version = semver(new.get("$version"))
    if version is None:
        return ["%s: $version must be MAJOR.MINOR.PATCH, is %r" % (name, new.get("$version"))]
    if not isinstance(new.get("$id"), str) or not new["$id"]:
        return ["%s: $id is missing" % name]
    if old is None:
        return []
    step, changes = bump(semver(old["$version"]), version), compare(old, new)
    if step is None:
        return ["%s: version %s is lower than the released %s" % (name, new["$version"], old["$version"])]
    return ["%s: %s: %s: a %s change, but %s -> %s is %s" %
            (name, path, text, LEVEL[level], old["$version"], new["$version"],
             "no bump" if step == NONE else "a %s bump" % LEVEL[step])
            for level, path, text in changes if level > step]


def load_all(directory):
    schemas = {}
    for file in sorted(os.listdir(directory)):
        if file.endswith(".json"):
            with open(os.path.join(directory, file), encoding="utf-8") as f:
                schemas[file[:-5]] = json.load(f)
    return schemas


def check_listing(root, schemas):
    """VERSIONS.md has one row `| name | version | $id |` for each schema, and no other."""
    with open(os.path.join(root, "VERSIONS.md"), encoding="utf-8") as f:
        rows = re.findall(r"^\| `([a-z-]+)` \| ([^ |]+) \| `([^`]+)` \|", f.read(), re.M)
    listed = {name: (version, ident) for name, version, ident in rows}
    problems = []
    for name, schema in schemas.items():
        if listed.get(name) != (schema.get("$version"), schema.get("$id")):
            problems.append("VERSIONS.md: `%s` must be listed with version %s and $id %s, is %s" %
                            (name, schema.get("$version"), schema.get("$id"), listed.get(name, "not there")))
    for name in sorted(set(listed) - set(schemas)):
        problems.append("VERSIONS.md: `%s` is listed, but there is no such schema" % name)
    return problems


def check(root):
    schemas, released = load_all(os.path.join(root, "schemas")), load_all(os.path.join(root, "released"))
    problems, ids = [], {}
    for name, schema in schemas.items():
        problems += check_schema(name, released.get(name), schema)
        if schema.get("$id") in ids:
            problems.append("%s: has the $id of %s" % (name, ids[schema["$id"]]))
        ids[schema.get("$id")] = name
    problems += ["%s: is released, but gone from schemas/" % name for name in sorted(set(released) - set(schemas))]
    return problems + check_listing(root, schemas)


def main(argv):
    release = "--release" in argv
    rest = [a for a in argv if a != "--release"]
    root = rest[0] if rest else os.path.dirname(os.path.abspath(__file__))
    problems = check(root)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        return 1
    if release:
        for name in load_all(os.path.join(root, "schemas")):
            shutil.copy(os.path.join(root, "schemas", name + ".json"), os.path.join(root, "released", name + ".json"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
