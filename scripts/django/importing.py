"""Compares what Django Action Triggers sends with what waltrigger sends after the import.

    importing.py DATABASE_URL REDIS_URL WALTRIGGER FOLDER

Makes triggers through the package's models, saves in many ways with the package at work,
imports its triggers with `waltrigger import-django`, and saves in the same ways without
the package and with waltrigger beside the database. Every request and message has to be
the same, but for what DEVIATIONS lists. Ends with 1 if one is not.
"""

import html
import http.server
import json
import os
import queue
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import redis

HERE = os.path.dirname(os.path.abspath(__file__))
CHANNEL = "django-import"

# What the package does not fire, or what cannot be imported, and what is said of it.
REFUSED = {
    "proxy": "VipCustomer is a proxy of shop.customer",
    "property": "greeting is Python code of shop.Customer (a property, a method or a constant), which the database does not have; it has id, name, email, vip, note",
    "method": "shop.Customer has no get_next_by_date",
    "object-itself": "what __str__ of the model says",
    "no-instance": "perhaps instance.customer.name is meant",
    "library": "load",
    "split": "/payload/a: ",
}


class Inbox:
    """What arrives: requests of webhooks by their path, and messages of one channel."""

    def __init__(self, address):
        self.got = queue.Queue()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self):
                try:
                    super().handle_one_request()
                except ConnectionError:  # the other side has no further use for it
                    self.close_connection = True

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {k.lower(): v for k, v in self.headers.items()}
                outer.got.put({"to": self.path, "method": self.command, "headers": headers, "body": body.decode()})
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_address[1]}/"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        channel = redis.Redis.from_url(address).pubsub()
        channel.subscribe(CHANNEL)
        channel.get_message(timeout=10)
        threading.Thread(target=self.listen, args=(channel,), daemon=True).start()

    def listen(self, channel):
        for message in channel.listen():
            self.got.put({"to": "broker", "method": "PUBLISH", "headers": {}, "body": message["data"].decode()})

    def take(self, n):
        """Waits for n, and a moment for more."""
        out, deadline = [], time.time() + 20
        while len(out) < n and time.time() < deadline:
            try:
                out.append(self.got.get(timeout=0.2))
            except queue.Empty:
                pass
        time.sleep(0.1)
        while not self.got.empty():
            out.append(self.got.get())
        return [tidy(r) for r in out]


# Headers that are about the connection, or that waltrigger adds.
TRANSPORT = {"host", "accept", "accept-encoding", "content-length", "connection", "webhook-id", "webhook-timestamp", "traceparent"}


def tidy(r):
    """A request without what is about its transport; JSON as the value that it is."""
    headers = {k: v for k, v in r["headers"].items() if k not in TRANSPORT}
    if headers.get("user-agent", "").startswith(("Python/", "waltrigger")):
        del headers["user-agent"]
    body = r["body"]
    if headers.get("content-type") == "application/json":
        body = json.loads(body)
    return {**r, "headers": headers, "body": body}


def strings(f, value):
    """value with all its strings as f makes them."""
    if isinstance(value, str):
        return f(value)
    if isinstance(value, list):
        return [strings(f, v) for v in value]
    if isinstance(value, dict):
        return {f(k): strings(f, v) for k, v in value.items()}
    return value


def python_text(value):
    """What the package's text of a JSON payload is once the values are in it."""
    if isinstance(value, str):
        return "'" + html.escape(value) + "'"
    if isinstance(value, list):
        return "[" + ", ".join(map(python_text, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(python_text(k) + ": " + python_text(v) for k, v in value.items()) + "}"
    return str(value)


def unescaped(p, w):
    return {**p, "body": strings(html.unescape, p["body"])} == w


def typed(p, w):
    if w["to"] == "broker":
        return w["body"][0] == "{" and json.loads(p["body"]) == python_text(json.loads(w["body"]))
    json_type = {**w["headers"], "content-type": "text/plain; charset=utf-8"}
    return {**w, "headers": json_type, "body": python_text(w["body"])} == p


def bare(p, w):
    return w["to"] == "broker" and json.loads(p["body"]) == html.escape(w["body"])


def key_known(p, w):
    return p["to"] == "/before/0" and re.sub("^None ", "", html.unescape(p["body"])) == re.sub(r"^\d+ ", "", w["body"])


def iso(p, w):
    return (p["to"] == "/dates/0" and p["body"] == "Feb. 29, 2024; Feb. 29, 2024, 1:05 p.m." and w["body"] == "2024-02-29; 2024-02-29T13:05:06.123456Z")


def columns(p, w):
    if p["to"] != "/renamed-fields/0":
        return False
    body = dict(p["body"])
    body["price_eur"] = body.pop("price")
    return body.pop("tags") == [] and {**p, "body": body} == w


def json_messages(p, w):
    """Messages of a broker have no content type; both sides send JSON, spelled otherwise."""
    try:
        return w["to"] == "broker" and strings(html.unescape, json.loads(p["body"])) == json.loads(w["body"])
    except ValueError:
        return False


# What may differ, why, and whether it explains how the request of waltrigger differs from
# that of the package. Each has to occur.
DEVIATIONS = [
    ("HTML is not escaped: a JSON payload has to carry O'Brien", unescaped),
    ("a JSON payload stays JSON, where the package falls back to Python's spelling as text", typed),
    ("a text goes to a broker as it is, not as a JSON string", bare),
    ("messages of brokers are compared as JSON, without HTML escapes", json_messages),
    ("pre_save of a new row knows its key", key_known),
    ("dates print in RFC 3339", iso),
    ("fields are those of the row: columns by their names, no many-to-many (the import says so)", columns),
]
NUMBER = "a text that happens to be a number is sent; the package cannot, and loses it"
TWICE = "a signal that is named twice fires once (the import says so)"


class Project:
    """project.py, with or without the package."""

    def __init__(self, url, address, folder):
        self.args, self.folder = [sys.executable, os.path.join(HERE, "project.py"), url, address], folder

    def run(self, installed, *command, **kw):
        out = subprocess.run([*self.args, installed, *command], cwd=self.folder, capture_output=True, text=True, **kw)
        if out.returncode != 0:
            sys.exit(f"{command}: {out.stdout}{out.stderr}")
        return out.stdout

    def writes(self, installed, inbox, expect):
        """Does one write after the other, and gives what arrives for each."""
        with open(os.path.join(self.folder, installed + ".log"), "w") as log:
            p = subprocess.Popen([*self.args, installed, "writes"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
            while True:
                try:
                    p.stdin.write("next\n")
                    p.stdin.flush()
                except BrokenPipeError:
                    break
                what = p.stdout.readline().rstrip("\n")
                if not what:
                    break
                yield what, inbox.take(expect(what))
        if p.wait() != 0:
            sys.exit(f"the writes {installed} the package failed; see {log.name}:\n" + open(log.name).read())


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Daemon:
    def __init__(self, program, folder, url, address):
        self.program, self.folder, self.config = program, folder, os.path.join(folder, "waltrigger.yaml")
        self.ops = f"127.0.0.1:{free_port()}"
        self.settings = {
            "sources": [{"name": "shop", "url": url}],
            "store": {"url": "sqlite:" + os.path.join(folder, "store.db")},
            "admin": {"listen": f"127.0.0.1:{free_port()}"},
            "ops": {"listen": self.ops},
            "egress": {"allow_cidrs": ["127.0.0.0/8"]},
        }
        # What a person does who reads what the import needs.
        self.needs = {
            "brokers": {
                "pubsub": {"broker_type": "redis", "conn_details": {"url": address}, "params": {"channel": CHANNEL}},
                "open": {"broker_type": "redis", "conn_details": {"url": address}},
            },
            "dynamic_values": {
                "shop.values.token": {"literal": "s3cret", "hosts": ["127.0.0.1"]},
                "shop.values.LABEL": {"literal": "from the shop", "hosts": ["127.0.0.1"]},
            },
            "settings": {"allowed_webhook_urls": ["(?:http://127\\.0\\.0\\.1:).*"], "max_webhook_timeout": 10},
        }
        self.source_needs = {
            "content_types": {"shop.product": "public.stock_item"},
            "relations": [
                {"table": "public.shop_sale", "columns": ["item"], "name": "product"},
                {"table": "public.shop_sale", "columns": ["ref"], "name": "recommended_by", "reverse_name": "recommendations"},
                {"table": "public.shop_sale", "columns": ["customer_id"], "reverse_name": "sale_set"},
                {"table": "public.shop_invoice", "columns": ["sale_id"], "references": "public.shop_sale", "referenced_columns": ["id"], "name": "sale"},
            ],
        }

    def write(self):
        with open(self.config, "w") as f:
            json.dump(self.settings, f)  # JSON is YAML

    def complete(self):
        self.settings.update(self.needs)
        self.settings["sources"][0].update(self.source_needs)
        self.write()

    def imported(self, *args):
        """Runs import-django, and gives standard output and error; it has to leave things to a person."""
        p = subprocess.run([self.program, "import-django", "-c", self.config, "--models", os.path.join(self.folder, "models.json"), *args],
                           capture_output=True, text=True)
        if p.returncode != 2:
            sys.exit(f"import-django {args}: exit code {p.returncode}\n{p.stdout}{p.stderr}")
        return p.stdout, p.stderr

    def start(self):
        self.log = open(os.path.join(self.folder, "waltrigger.log"), "w")
        self.process = subprocess.Popen([self.program, "run", "-c", self.config], stdout=self.log, stderr=self.log)
        deadline = time.time() + 30
        while True:
            try:
                urllib.request.urlopen(f"http://{self.ops}/readyz").read()
                return
            except OSError:
                if time.time() > deadline or self.process.poll() is not None:
                    sys.exit("the daemon did not start; see " + self.log.name)
                time.sleep(0.05)

    def stop(self):
        self.process.terminate()
        if self.process.wait(40) != 0:
            sys.exit("the daemon did not stop in order; see " + self.log.name)


def imported(p):
    """Whether a request of the package comes of a trigger that could be imported."""
    return p["to"] == "broker" or p["to"].split("/")[1] not in REFUSED


def expected(requests):
    """How many requests of waltrigger there are for those of the package."""
    return sum(map(imported, requests))  # of each two of /twice one is missing, and one of /number comes instead


class Comparison:
    def __init__(self):
        self.failed, self.equal, self.used = 0, 0, {}

    def explained(self, p, w):
        """"": equal; the name of a deviation; None: neither."""
        if p == w:
            return ""
        if (p["to"], p["method"]) != (w["to"], w["method"]):
            return None
        for name, explains in DEVIATIONS:
            if explains(p, w):
                return name
        return None

    def step(self, what, package, ours):
        wrong, names, rest = [], set(), list(ours)
        for p in filter(imported, package):
            found = [(n, w) for w in rest if (n := self.explained(p, w)) is not None]
            if not found and p["to"] == "/twice/0":
                names.add(TWICE)
                continue
            if not found:
                wrong.append(("package", p))
                continue
            name, w = min(found, key=lambda f: f[0] != "")
            rest.remove(w)
            self.equal += name == ""
            names.update([name] if name else [])
        for w in rest:
            if w["to"] == "/number/0" and type(w["body"]) is int:
                names.add(NUMBER)
            else:
                wrong.append(("waltrigger", w))
        for n in names:
            self.used[n] = self.used.get(n, 0) + 1
        print("FAIL" if wrong else "ok  ", f"{what}: {len(ours)} requests")
        for n in sorted(names):
            print("       but", n)
        for side, r in wrong:
            print(f"       only {side}:", json.dumps(r))
        self.failed += bool(wrong)


def main():
    url, address, program, folder = sys.argv[1:]
    inbox = Inbox(address)
    project, daemon = Project(url, address, folder), Daemon(program, folder, url, address)
    project.run("with", "migrate")
    labels = dict(reversed(line.split()) for line in project.run("with", "triggers", inbox.url).splitlines())
    recorded = dict(project.writes("with", inbox, lambda what: 0))

    script = subprocess.run([program, "import-django", "--print-script"], capture_output=True, text=True, check=True).stdout
    project.run("with", "shell", input=script)
    with open(os.path.join(folder, "models.json")) as now, open(os.path.join(HERE, "../../testdata/django/models.json")) as recorded_models:
        if json.load(now) != json.load(recorded_models):
            sys.exit("testdata/django/models.json is not what the script of --print-script writes now; copy " + now.name)
    daemon.write()
    _, said = daemon.imported()
    missing = [f"{label}: {text}" for label, text in REFUSED.items() if not any(
        line.startswith(f"django-{labels[label]}: refused: ") and text in line or
        label == "proxy" and line.startswith(f"django-{labels[label]}: ") and text in line for line in said.splitlines())]
    for text in ("shop.product: public.stock_item", "columns: [ref], name: recommended_by, reverse_name: recommendations", "columns: [customer_id], reverse_name: sale_set",
                 "{table: public.shop_invoice, columns: [sale_id], references: public.shop_sale, referenced_columns: [id], name: sale}", "columns: [item], name: product",
                 "shop.values.token: {env: SHOP_VALUES_TOKEN, hosts: [\"127.0.0.1\"]}", "pubsub: {broker_type: redis", "REPLICA IDENTITY FULL"):
        if text not in said:
            missing.append(text)
    if missing:
        sys.exit(f"import-django does not say {missing}:\n{said}")

    daemon.complete()
    project.run("without", "empty")
    daemon.start()
    try:
        _, once = daemon.imported("--apply")
        _, twice = daemon.imported("--apply")
        if once != twice or f"{len(labels) - len(REFUSED)} triggers imported, {len(REFUSED)} refused" not in once:
            sys.exit(f"import-django --apply says\n{once}\nand then\n{twice}")
        check = Comparison()
        for what, ours in project.writes("without", inbox, lambda what: expected(recorded[what])):
            check.step(what, recorded.pop(what), ours)
    finally:
        daemon.stop()
    if recorded:
        sys.exit(f"not written again: {list(recorded)}")
    unused = [n for n in [*(n for n, _ in DEVIATIONS), NUMBER, TWICE] if n not in check.used]
    if unused:
        sys.exit(f"deviations that do not occur any more: {unused}")
    print(f"{check.equal} requests are the same, {check.failed} of the writes wrong")
    sys.exit(1 if check.failed else 0)


main()
