#!/usr/bin/env python3
"""contracts/: fixtures against the schemas, `odto contracts`, the UI registry, the OpenAPI documents."""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

SRC = pathlib.Path(os.environ.get("ODTO_SRCDIR") or pathlib.Path(__file__).resolve().parents[2])
BUILD = pathlib.Path(os.environ.get("ODTO_BUILDDIR") or SRC / "build")
CLI = BUILD / "tests" / "unit" / "contracts_cli"
CONTRACTS = SRC / "contracts"
TESTS = []


def test(fn):
    TESTS.append(fn)
    return fn


def run(*args, stdin=b""):
    done = subprocess.run([str(CLI), "contracts", *map(str, args)], input=stdin, capture_output=True)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def equal(got, want):
    assert got == want, "got %r, want %r" % (got, want)


# ---- fixtures --------------------------------------------------------------------------------------------------

@test
def golden_fixtures_pass():
    files = sorted((CONTRACTS / "fixtures/golden").glob("*.json"))
    assert len(files) >= 13
    for file in files:
        schema = file.name.split(".")[0]
        equal(run("validate", "--schema", schema, file), (0, "%s: valid\n" % file, ""))
        equal(run("validate", "--schema", CONTRACTS / "schemas" / (schema + ".json"), file)[0], 0)
        # what the last release accepted is accepted still, and ours by a consumer of that release
        equal(run("validate", "--schema", CONTRACTS / "released" / (schema + ".json"), file)[0], 0)


@test
def schemas_are_draft_07():
    meta = SRC / "tests/data/json-schema-test-suite/draft-07-schema.json"
    files = sorted(CONTRACTS.glob("schemas/*.json")) + sorted(CONTRACTS.glob("released/*.json"))
    assert len(files) >= 8
    for file in files:
        equal(load(file)["$schema"], "http://json-schema.org/draft-07/schema#")
        equal(run("validate", "--schema", meta, file), (0, "%s: valid\n" % file, ""))
    with tempfile.NamedTemporaryFile("w", suffix=".json") as bad:  # it does tell
        bad.write('{"type":"strnig","required":"id"}')
        bad.flush()
        code, out, _ = run("validate", "--schema", meta, bad.name)
        assert code == 1 and "/type" in out and "/required" in out, (code, out)


@test
def negative_fixtures_fail():
    files = sorted((CONTRACTS / "fixtures/negative").glob("*.json"))
    assert len(files) >= 30
    for file in files:
        code, out, err = run("validate", "--schema", file.name.split(".")[0], file)
        assert code == 1 and out.startswith("%s: /" % file) and not err, (file, code, out, err)


@test
def fixtures_of_the_contract_are_there():
    golden = ["event-envelope.valid", "job.valid", "job.all-fields", "job.extra-fields"]
    negative = ["event-envelope.missing-event-id", "event-envelope.missing-producer", "event-envelope.producer-incomplete",
                "event-envelope.unknown-event-type", "job.missing-id", "job.bad-status", "job.status-not-a-string"]
    for folder, names in (("golden", golden), ("negative", negative)):
        for name in names:
            assert (CONTRACTS / "fixtures" / folder / (name + ".json")).is_file(), name


@test
def golden_envelopes_hold_valid_jobs():
    for file in (CONTRACTS / "fixtures/golden").glob("event-envelope.*.json"):
        job = json.dumps(load(file)["payload"]).encode()
        equal(run("validate", "--schema", "job", "-", stdin=job)[0], 0)


@test
def each_negative_fixture_breaks_one_rule():
    for file in sorted((CONTRACTS / "fixtures/negative").glob("*.json")):
        code, out, err = run("validate", "--json", "--schema", file.name.split(".")[0], file)
        errors = json.loads(out)["errors"]
        # several errors at one place are one mistake: a wrong type is no value of an enum either
        assert len({e["path"] for e in errors}) == 1, (file, errors)


@test
def independent_validator_agrees():
    """python3-jsonschema, where it is installed, gives every fixture the same verdict (formats aside)."""
    try:
        import jsonschema
    except ImportError:
        return "python3-jsonschema is not installed"
    formats = ("urn", "uuid", "created-at", "occurred-at")
    for folder, want in (("golden", True), ("negative", False)):
        for file in (CONTRACTS / "fixtures" / folder).glob("*.json"):
            if not want and any(f in file.name for f in formats):
                continue
            schema = load(CONTRACTS / "schemas" / (file.name.split(".")[0] + ".json"))
            valid = not list(jsonschema.Draft7Validator(schema).iter_errors(load(file)))
            assert valid == want, file


# ---- the command -----------------------------------------------------------------------------------------------

@test
def every_error_has_its_path():
    job = {"id": "x", "type": 1, "status": "NO", "createdAt": "2025-01-01", "payload": [], "options": {"priority": "a"}}
    code, out, err = run("validate", "--schema", "job", "-", stdin=json.dumps(job).encode())
    equal(code, 1)
    equal(out.splitlines(), ['-: /id must match format "uuid"', "-: /type must be string",
                             "-: /status must be equal to one of the allowed values",
                             '-: /createdAt must match format "date-time"', "-: /payload must be object",
                             "-: /options/priority must be integer"])


@test
def an_envelopes_job_is_checked_too():
    envelope = load(CONTRACTS / "fixtures/golden/event-envelope.valid.json")
    envelope["payload"]["status"] = "NO"
    del envelope["payload"]["type"]
    code, out, err = run("validate", "--schema=event-envelope", "-", stdin=json.dumps(envelope).encode())
    equal((code, out.splitlines()), (1, ["-: /payload must have required property 'type'",
                                         "-: /payload/status must be equal to one of the allowed values"]))


@test
def all_files_are_looked_at():
    good, bad = CONTRACTS / "fixtures/golden/job.valid.json", CONTRACTS / "fixtures/negative/job.bad-status.json"
    code, out, err = run("validate", "--schema", "job", bad, "/nowhere.json", good)
    lines = out.splitlines()
    equal((code, len(lines)), (1, 3))
    assert lines[0].startswith(str(bad)) and "cannot be read" in lines[1] and lines[2].endswith(": valid"), lines
    equal(run("validate", "-q", "--schema", "job", good, good), (0, "", ""))


@test
def what_is_not_json_is_invalid():
    for text, message in ((b"", "empty text"), (b"{", "unexpected end"), (b'{"a":1,"a":2}', "duplicate member name"),
                          (b"\xff", "expected a value"), (b'{"a":"\xff"}', "invalid UTF-8"), (b"[" * 600, "too deeply")):
        code, out, err = run("validate", "--schema", "job", "-", stdin=text)
        assert code == 1 and message in out and out.startswith("-: /"), (text, out)


@test
def json_output():
    code, out, err = run("validate", "--json", "--schema", "job", "-", stdin=b"{}")
    doc = json.loads(out)
    equal((code, doc["file"], doc["valid"], len(doc["errors"])), (1, "-", False, 4))
    equal(doc["errors"][0], {"path": "/", "message": "must have required property 'id'"})


@test
def control_characters_do_not_reach_the_terminal():
    code, out, err = run("validate", "--schema", CONTRACTS / "schemas/job-accepted.json", "-", stdin=b'{"jobId":"\\u001b[31m"}')
    assert code == 1 and "\x1b" not in out
    schema = tempfile.NamedTemporaryFile(suffix=".json")
    schema.write(b'{"additionalProperties":{"type":"null"}}')
    schema.flush()
    code, out, err = run("validate", "--schema", schema.name, "-", stdin=b'{"\\u001b[31m":1}')
    assert code == 1 and "\x1b" not in out and "/?[31m must be null" in out, out


@test
def wrong_usage():
    for args in ([], ["validate"], ["validate", "--schema", "job"], ["validate", "x.json"], ["bogus"],
                 ["validate", "--schema", "job", "--bogus", "x"], ["show", "bogus"], ["list", "x"], ["validate", "--schema"]):
        code, out, err = run(*args)
        assert code == 2 and "usage:" in err and not out, (args, code, out, err)
    code, out, err = run("validate", "--schema", "jop", "x.json")
    assert code == 2 and "did you mean job" in err, err
    equal(run("--help")[0], 0)


@test
def broken_schemas_are_explained():
    with tempfile.TemporaryDirectory() as d:
        for text, message in (('{"type":"strin"}', "/type must be"), ("{", "invalid JSON"), ('{"$ref":"#/x"}', "which is not there")):
            path = pathlib.Path(d) / "s.json"
            path.write_text(text)
            code, out, err = run("validate", "--schema", path, "-", stdin=b"{}")
            assert code == 1 and message in err, err
        code, out, err = run("validate", "--schema", pathlib.Path(d) / "none.json", "-", stdin=b"{}")
        assert code == 1 and "No such file" in err, err


@test
def list_and_show():
    code, out, err = run("list", "--json")
    listed = {d["name"]: d for d in map(json.loads, out.splitlines())}
    files = {f.stem: load(f) for f in (CONTRACTS / "schemas").glob("*.json")}
    equal({n: (d["version"], d["id"]) for n, d in listed.items()}, {n: (s["$version"], s["$id"]) for n, s in files.items()})
    for name in files:
        equal(run("show", name), (0, (CONTRACTS / "schemas" / (name + ".json")).read_text(encoding="utf-8"), ""))


# ---- UI registry -----------------------------------------------------------------------------------------------

@test
def ui_registry():
    registry = load(CONTRACTS / "ui-registry.json")
    equal((registry["registryVersion"], registry["baseUrl"]), ("1.0.0", "http://localhost"))
    want = [("dashboard", "Web Dashboard", 8081, "/"), ("gateway-docs", "Gateway API Docs", 3000, "/docs"),
            ("read-model-docs", "Read Model API Docs", 8080, "/docs"), ("rabbitmq", "RabbitMQ", 15672, "/"),
            ("grafana", "Grafana", 3002, "/"), ("prometheus", "Prometheus", 9090, "/"), ("pgadmin", "pgAdmin", 5050, "/"),
            ("mongo-express", "Mongo Express", 8082, "/"), ("redisinsight", "RedisInsight", 8001, "/")]
    equal([(e["id"], e["name"], e["port"], e["path"]) for e in registry["entries"]], want)
    for entry in registry["entries"]:
        assert set(entry) == {"id", "name", "port", "path", "emoji", "description"} and all(entry.values()), entry


# ---- OpenAPI ---------------------------------------------------------------------------------------------------

ROUTES = {
    "gateway": ("Gateway API", 3000, ["POST /jobs", "GET /healthz", "GET /readyz", "GET /livez", "GET /metrics", "GET /openapi.json",
                                      "GET /docs", "GET /proxy/alerts", "GET /proxy/targets"]),
    "read-model": ("Read Model API", 8080, ["GET /health", "GET /healthz", "GET /readyz", "GET /livez", "GET /metrics", "GET /stats",
                                            "GET /jobs/recent", "GET /jobs/{id}", "GET /jobs", "GET /events", "GET /events/stream",
                                            "GET /openapi.json", "GET /docs", "POST /webhook/alerts",
                                            "POST /stats/rebuild"]),
}


def nodes(value, path=""):
    yield path, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield from nodes(child, "%s/%s" % (path, key))


def resolve(doc, ref):
    assert ref.startswith("#/"), ref
    for part in ref[2:].split("/"):
        doc = doc[part.replace("~1", "/").replace("~0", "~")]
    return doc


def check_operation(doc, route, op):
    assert op["summary"] and op["responses"] and all(t in [x["name"] for x in doc["tags"]] for t in op["tags"]), route
    for status, response in op["responses"].items():
        assert re.fullmatch(r"[1-5]\d\d", status), route
        response = resolve(doc, response["$ref"]) if "$ref" in response else response
        assert response["description"], route
    params = [resolve(doc, p["$ref"]) if "$ref" in p else p for p in op.get("parameters", [])]
    assert all(p["in"] in ("path", "query", "header") and "schema" in p for p in params), route
    equal({p["name"] for p in params if p["in"] == "path"}, set(re.findall(r"{(\w+)}", route)))
    assert all(p.get("required") for p in params if p["in"] == "path"), route
    equal("requestBody" in op, route.startswith("POST"))


@test
def openapi_documents():
    for name, (title, port, routes) in ROUTES.items():
        doc = load(CONTRACTS / "openapi" / (name + ".json"))
        assert re.fullmatch(r"3\.0\.\d+", doc["openapi"])
        equal((doc["info"]["title"], [s["url"] for s in doc["servers"]]), (title, ["http://localhost:%d" % port]))
        ops = {"%s %s" % (m.upper(), p): op for p, item in doc["paths"].items() for m, op in item.items()}
        assert set(routes) <= set(ops), set(routes) - set(ops)
        for route, op in ops.items():
            check_operation(doc, route, op)
        ids = [op["operationId"] for op in ops.values()]
        equal(len(ids), len(set(ids)))
        used = set()
        for path, node in nodes(doc):
            if isinstance(node, dict) and "$ref" in node:
                resolve(doc, node["$ref"])
                equal(set(node), {"$ref"})
                used.add(node["$ref"])
        for kind, parts in doc["components"].items():
            for part in parts:
                assert kind == "securitySchemes" or "#/components/%s/%s" % (kind, part) in used, "unused " + part


@test
def openapi_schemas_are_those_of_the_contract():
    gateway, read = (load(CONTRACTS / "openapi" / n) for n in ("gateway.json", "read-model.json"))
    for doc, component, file in ((gateway, "Job", "job"), (gateway, "JobAccepted", "job-accepted"), (read, "Event", "event-envelope")):
        ours, theirs = doc["components"]["schemas"][component], load(CONTRACTS / "schemas" / (file + ".json"))
        equal(set(ours["properties"]), set(theirs["properties"]))
        assert set(ours["required"]) <= set(theirs["required"])
        for name, prop in theirs["properties"].items():
            mine = ours["properties"][name]
            mine = resolve(doc, mine["$ref"]) if "$ref" in mine else mine
            for keyword in ("type", "format", "enum", "pattern"):
                equal((name, mine.get(keyword)), (name, prop.get(keyword)))
    options = load(CONTRACTS / "schemas/job.json")["properties"]["options"]["properties"]
    equal(set(gateway["components"]["schemas"]["JobOptions"]["properties"]), set(options))
    example = gateway["paths"]["/jobs"]["post"]["requestBody"]["content"]["application/json"]["example"]
    equal(run("validate", "--schema", "job", "-", stdin=json.dumps(example).encode())[0], 0)
    answer = {k: v["example"] for k, v in gateway["components"]["schemas"]["JobAccepted"]["properties"].items()}
    equal(run("validate", "--schema", "job-accepted", "-", stdin=json.dumps(answer).encode())[0], 0)


def main():
    print("1..%d" % len(TESTS))
    failed = False
    for i, fn in enumerate(TESTS, 1):
        name = fn.__name__.replace("_", " ")
        try:
            skip = fn()
            print("ok %d - %s%s" % (i, name, " # SKIP " + skip if skip else ""))
        except Exception as e:  # noqa: BLE001 - any exception is a failed test
            failed = True
            print("not ok %d - %s\n# %s: %s" % (i, name, type(e).__name__, str(e).replace("\n", "\n# ")))
    return failed


if __name__ == "__main__":
    sys.exit(main())
