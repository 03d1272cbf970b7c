#!/usr/bin/env python3
"""What is in etc/monitoring: valid, about metrics that hosts really have, and on its way from a host over Prometheus and
Alertmanager to the dashboard's alerts."""
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import odto  # noqa: E402
import prometheus  # noqa: E402
from odto import check, equal, wait_until  # noqa: E402

suite = odto.Suite()
CONFIG = prometheus.CONFIG
PASSWORD = "a word between Alertmanager and the read model"
# of a broker's own exporter, not of a host
FOREIGN = {"rabbitmq_queue_messages"}
FUNCTIONS = {"sum", "max", "rate", "increase", "deriv", "by", "and", "or", "on", "histogram_quantile", "le"}


def names(expression):
    """The metrics an expression names."""
    bare = re.sub(r"\bby \([^)]*\)|\{[^}]*\}|\[[^]]*\]", " ", expression)
    return {n for n in re.findall(r"[a-z_]+[a-z]", bare) if n not in FUNCTIONS}


def rules():
    text = (CONFIG / "alerts.yml").read_text()
    return dict(re.findall(r"- alert: (\w+)\n\s+expr: (?:>-\n)?(.*?)\n\s+(?:for|labels):", text, re.S))


def panels():
    return [(p["title"], t["expr"]) for p in json.loads((CONFIG / "grafana" / "dto-main.json").read_text())["panels"] for t in p["targets"]]


def need():
    if why := prometheus.missing():
        raise odto.Skip(why)


@suite.test("promtool and amtool find no fault; each alert fires when it should and not before")
def _():
    need()
    with tempfile.TemporaryDirectory() as tmp:
        for file in (*CONFIG.glob("*.yml"), odto.SRC / "tests" / "monitoring" / "alerts.test.yml"):
            shutil.copy(file, tmp)
        for words in (["promtool", "check", "config", "prometheus.yml"], ["promtool", "test", "rules", "alerts.test.yml"],
                      ["amtool", "check-config", "alertmanager.yml"]):
            r = subprocess.run(words, cwd=tmp, capture_output=True, text=True)
            equal(r.returncode, 0, f"{words}: {r.stdout}{r.stderr}")
    tested = (odto.SRC / "tests" / "monitoring" / "alerts.test.yml").read_text()
    for alert in rules():
        check(re.search(rf"alertname: {alert}\n\s+exp_alerts:", tested), f"{alert} has a test in which it fires")


@suite.test("each alert has its paragraph in docs/monitoring.md, and an expression about something")
def _():
    found = rules()
    check(len(found) >= 11 and all(names(e) for e in found.values()), f"alerts: {found}")
    text = (odto.SRC / "docs" / "monitoring.md").read_text()
    for alert in found:
        check(re.search(rf"^### {alert}$", text, re.M), f"### {alert} in docs/monitoring.md")


@suite.test("the dashboard of Grafana has the contract's panels")
def _():
    d = json.loads((CONFIG / "grafana" / "dto-main.json").read_text())
    equal((d["uid"], d["title"], d["refresh"]), ("dto-main", "Distributed Task Observatory", "5s"))
    titles = {p["title"] for p in d["panels"]}
    want = {"Jobs Submitted", "Jobs Accepted", "Jobs Completed", "Jobs Failed", "Job Throughput", "Job Processing Latency",
            "RabbitMQ Queue Depth"}
    equal(want - titles, set(), "panels that are missing")
    equal(len({p["id"] for p in d["panels"]}), len(d["panels"]), "ids of their own")


@suite.test("every expression is one that Prometheus takes, about metrics that a running host has")
def _():
    need()
    with odto.Host() as h, prometheus.Prometheus({"odto": f"127.0.0.1:{h.gateway.port}"}) as p:
        for job in (h.submit(), h.submit(type="fail", payload={"message": "on purpose"}, options={"maxAttempts": 1})):
            h.wait_job(job)
        wait_until(lambda: p.query("processor_jobs_failed_total > 0"), what="scraped after the jobs")
        expressions = [*rules().items(), *panels()]
        for title, e in expressions:
            p.query(e)  # refused: raises
            for metric in names(e) - FOREIGN:
                check(p.query(metric), f"{title}: no running host has {metric}")
        for title, e in panels():
            if not names(e) & FOREIGN and "[" not in e:
                check(p.query(e), f"{title}: {e} shows nothing")


@suite.test("an alert goes from the host over Prometheus and Alertmanager to /proxy/alerts and /alerts, and goes away")
def _():
    need()
    manifest = {"plugin read-model": {"webhook_password": PASSWORD}}
    with odto.Host(manifest) as h, prometheus.Alertmanager(h.read_model.url + "/webhook/alerts", PASSWORD) as a, \
            odto.Host({"plugin gateway": {"alertmanager_url": a.url}}) as seen, \
            prometheus.Prometheus({"odto": f"127.0.0.1:{h.gateway.port}", "gateway": f"127.0.0.1:{seen.gateway.port}"}, a) as p:
        wait_until(lambda: len(p.query("up == 1")) == 2, what="both hosts are scraped")
        equal(seen.gateway.get("/proxy/alerts").json, [], "no alert")
        job = h.submit(type="fail", payload={"message": "on purpose"}, options={"maxAttempts": 1})
        equal(h.wait_job(job)["status"], "FAILED")
        wait_until(lambda: "DeadLettersArriving" in p.firing(), 30, "the dead letter is an alert")

        def active():
            return {x["labels"]["alertname"]: x["labels"] for x in seen.gateway.get("/proxy/alerts").json}
        labels = wait_until(lambda: active().get("DeadLettersArriving"), 30, "the gateway passes it on")
        equal((labels["severity"], labels["service"]), ("warning", "processor"))
        wait_until(lambda: "DeadLettersArriving" in h.read_model.get("/alerts").text, 30, "the webhook has brought it")

        seen_port = seen.gateway.port
        p.targets({"odto": f"127.0.0.1:{h.gateway.port}", "gateway": "127.0.0.1:1"})
        down = wait_until(lambda: active().get("ServiceDown"), 30, "a host that does not answer is an alert")
        equal((down["severity"], down["service"]), ("critical", "gateway"))
        p.targets({"odto": f"127.0.0.1:{h.gateway.port}", "gateway": f"127.0.0.1:{seen_port}"})
        wait_until(lambda: "ServiceDown" not in active(), 60, "it answers again, the alert is over")


suite.main()
