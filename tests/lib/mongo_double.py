#!/usr/bin/env python3
"""A double of a MongoDB server: python3-mongomock behind the wire protocol, for machines that have neither mongod nor Go.
It keeps nothing and knows no write concern: it proves the commands, not durability.    mongo_double.py PORT"""
import os
import socket
import struct
import sys
import threading
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import mongomock

from mongo import ObjectId, decode, encode, message, read_message

OP_REPLY, OP_QUERY = 1, 2004
HELLO = {"ismaster": True, "isWritablePrimary": True, "helloOk": True, "minWireVersion": 0, "maxWireVersion": 13,
         "maxBsonObjectSize": 16 << 20, "maxMessageSizeBytes": 48000000, "maxWriteBatchSize": 100000, "ok": 1.0}
CLIENT = mongomock.MongoClient()
LOCK = threading.Lock()
mongomock.ObjectId = mongomock.collection.ObjectId = lambda: ObjectId(os.urandom(12))


class Refused(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def cursor(namespace, documents):
    return {"cursor": {"id": 0, "ns": namespace, "firstBatch": documents}, "ok": 1.0}


def each(documents, fn):
    """n and the write errors of an unordered bulk."""
    n, errors, more = 0, [], []
    for i, d in enumerate(documents):
        try:
            done, extra = fn(d)
            n += done
            if extra is not None:
                more.append({"index": i, "_id": extra})
        except mongomock.DuplicateKeyError as e:
            errors.append({"index": i, "code": 11000, "errmsg": f"E11000 duplicate key error: {e}"})
    return n, errors, more


def update(c, u):
    r = (c.update_many if u.get("multi") else c.update_one)(u["q"], u["u"], upsert=u.get("upsert", False))
    return (1 if r.upserted_id is not None else r.matched_count), r.upserted_id


def run(doc):
    name, db = next(iter(doc)), CLIENT[doc.get("$db", "admin")]
    target = doc[name]
    c = db[target] if isinstance(target, str) else None
    if name in ("hello", "isMaster", "ismaster"):
        return HELLO
    if name in ("ping", "endSessions", "killCursors"):
        return {"ok": 1.0}
    if name == "buildInfo":
        return {"version": "5.0.0 (mongomock)", "ok": 1.0}
    if name == "insert":
        n, errors, _ = each(doc["documents"], lambda d: (c.insert_one(d) and 1, None))
        return {"n": n, "ok": 1.0, **({"writeErrors": errors} if errors else {})}
    if name == "update":
        n, errors, more = each(doc["updates"], lambda u: update(c, u))
        return {"n": n, "nModified": 0, "ok": 1.0, **({"upserted": more} if more else {}),
                **({"writeErrors": errors} if errors else {})}
    if name == "delete":
        return {"n": sum((c.delete_one if d["limit"] else c.delete_many)(d["q"]).deleted_count for d in doc["deletes"]),
                "ok": 1.0}
    if name == "find":
        rows = c.find(doc.get("filter") or {}, doc.get("projection") or None)
        if doc.get("sort"):
            rows = rows.sort(list(doc["sort"].items()))
        return cursor(c.full_name, list(rows.limit(doc.get("limit") or 0)))
    if name == "aggregate":
        return cursor(c.full_name, list(c.aggregate(doc["pipeline"])))
    if name == "count":
        return {"n": c.count_documents(doc.get("query") or {}), "ok": 1.0}
    if name in ("findAndModify", "findandmodify"):
        after = mongomock.collection.ReturnDocument.AFTER
        return {"value": c.find_one_and_update(doc["query"], doc["update"], upsert=doc.get("upsert", False),
                                               return_document=after), "ok": 1.0}
    if name == "createIndexes":
        try:
            for i in doc["indexes"]:
                c.create_index(list(i["key"].items()), name=i["name"], unique=i.get("unique", False))
        except mongomock.DuplicateKeyError as e:
            raise Refused(11000, f"E11000 duplicate key error: {e}")
        return {"ok": 1.0}
    raise Refused(59, f"no such command: {name}")


def answer(doc):
    with LOCK:
        try:
            return run(doc)
        except Refused as e:
            return {"ok": 0.0, "code": e.code, "errmsg": str(e)}
        except Exception as e:  # noqa: BLE001 - told to the client
            return {"ok": 0.0, "code": 8, "errmsg": f"{type(e).__name__}: {e}"}


def sections(raw):
    """The command of an OP_MSG, its document sequences (kind 1) put in their place."""
    doc, at, lists = {}, 20, {}
    while at < len(raw):
        kind, at = raw[at], at + 1
        size = struct.unpack_from("<i", raw, at)[0]
        if kind == 0:
            doc = decode(raw, at)
        else:
            end = raw.index(0, at + 4)
            key, p = raw[at + 4:end].decode(), end + 1
            while p < at + size:
                lists.setdefault(key, []).append(decode(raw, p))
                p += struct.unpack_from("<i", raw, p)[0]
        at += size
    return {**doc, **lists}


def serve(s):
    with s:
        try:
            while True:
                raw = read_message(s)
                request, op = struct.unpack_from("<i", raw, 4)[0], struct.unpack_from("<i", raw, 12)[0]
                if op == OP_QUERY:
                    doc = decode(raw, raw.index(0, 20) + 9)
                    body = struct.pack("<iqii", 8, 0, 0, 1) + encode(answer(doc))
                    s.sendall(struct.pack("<iiii", len(body) + 16, 1, request, OP_REPLY) + body)
                else:
                    s.sendall(message(answer(sections(raw)), reply_to=request))
        except OSError:
            pass


def main():
    with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


main()
