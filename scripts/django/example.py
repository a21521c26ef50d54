"""A Django application beside which waltrigger runs, without any package of its own.

    example.py DATABASE_URL WALTRIGGER FOLDER

Makes a database, migrates it, starts the daemon (the program WALTRIGGER, its files in
FOLDER), creates two triggers through its API, and then saves in every way that Django
knows. Prints each request that arrives; ends with 1 if one is missing or wrong.
"""

import http.server
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

import django
from django.conf import settings


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Receiver(http.server.ThreadingHTTPServer):
    """Puts the body of each request into .got."""

    def __init__(self):
        self.got = queue.Queue()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.put(json.loads(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/"


class Daemon:
    """waltrigger, beside the database at url."""

    def __init__(self, program, folder, url):
        self.api = f"127.0.0.1:{free_port()}"
        config = os.path.join(folder, "waltrigger.yaml")
        with open(config, "w") as f:
            json.dump({  # JSON is YAML
                "sources": [{"name": "shop", "url": url}],
                "store": {"url": "sqlite:" + os.path.join(folder, "store.db")},
                "admin": {"listen": self.api},
                "ops": {"listen": f"127.0.0.1:{free_port()}"},
                "egress": {"allow_cidrs": ["127.0.0.0/8"]},
            }, f)
        self.log = open(os.path.join(folder, "waltrigger.log"), "w")
        self.process = subprocess.Popen([program, "run", "-c", config], stdout=self.log, stderr=self.log)

    def create(self, trigger):
        deadline = time.time() + 30
        while True:
            request = urllib.request.Request(f"http://{self.api}/api/action-triggers", json.dumps(trigger).encode(), {"Content-Type": "application/json"})
            try:
                with urllib.request.urlopen(request) as answer:
                    assert answer.status == 201, answer.status
                    return
            except urllib.error.HTTPError as e:
                sys.exit(f"create trigger: {e.code} {e.read().decode()}")
            except urllib.error.URLError:  # it has only just been started
                if time.time() > deadline or self.process.poll() is not None:
                    sys.exit("the daemon did not start; see " + self.log.name)
                time.sleep(0.05)

    def stop(self):
        self.process.terminate()
        if self.process.wait(40) != 0:
            sys.exit("the daemon did not stop in order; see " + self.log.name)


class Check:
    """Runs one statement of the application and compares what arrives."""

    def __init__(self, receiver):
        self.receiver, self.failed, self.arrived = receiver, 0, 0

    def __call__(self, what, act, *want):
        act()
        got = []
        for _ in want:
            try:
                got.append(self.receiver.got.get(timeout=20))
            except queue.Empty:
                break
        time.sleep(0.2)
        while not self.receiver.got.empty():
            got.append(self.receiver.got.get())
        key = lambda b: json.dumps(b, sort_keys=True)
        ok = sorted(got, key=key) == sorted(want, key=key)
        self.arrived += len(got)
        print("ok  " if ok else "FAIL", what)
        for body in got:
            print("      ", json.dumps(body))
        if not ok:
            self.failed += 1
            print("     want", *map(json.dumps, want), sep="\n       ")


def setup(url):
    u = urllib.parse.urlsplit(url)
    engine = "postgresql"
    if u.scheme in ("mysql", "mariadb"):
        import pymysql

        pymysql.install_as_MySQLdb()
        engine = "mysql"
    settings.configure(
        SECRET_KEY="of no worth", ALLOWED_HOSTS=["testserver"], USE_TZ=True, ROOT_URLCONF="urls", STATIC_URL="/static/",
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DATABASES={"default": {"ENGINE": "django.db.backends." + engine, "NAME": u.path[1:], "USER": u.username,
                               "PASSWORD": u.password, "HOST": u.hostname, "PORT": u.port}},
        INSTALLED_APPS=["django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
                        "django.contrib.sessions", "django.contrib.messages", "myapp"],
        MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware", "django.contrib.auth.middleware.AuthenticationMiddleware",
                    "django.contrib.messages.middleware.MessageMiddleware"],
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
                    "OPTIONS": {"context_processors": ["django.template.context_processors.request",
                                                       "django.contrib.auth.context_processors.auth",
                                                       "django.contrib.messages.context_processors.messages"]}}],
    )
    django.setup()
    from django.core.management import call_command

    call_command("migrate", run_syncdb=True, verbosity=0)


def application(check, whole):
    """What an application does, and what has to arrive for it. whole: the log holds whole deleted rows."""
    from django.contrib.auth.models import User
    from django.db import transaction
    from django.test import Client

    from myapp.models import Customer, Product, Sale

    def customer(signal, pk, name=""):
        return {"signal": signal, "id": pk, "name": name}

    def deleted(pk, name):
        return customer("post_delete", pk, name if whole else "")

    ada = Customer(name="Ada O'Brien", email="ada@example.com")
    check("save of a new object", ada.save, customer("post_save", 1, "Ada O'Brien"))
    ada.name = "Ada"
    check("save of a changed one", ada.save, customer("post_save", 1, "Ada"))
    check("bulk_create", lambda: Customer.objects.bulk_create([Customer(name=n, email="") for n in "xyz"]),
          *(customer("post_save", i, n) for i, n in enumerate("xyz", 2)))
    check("update of a queryset", lambda: Customer.objects.filter(id__gt=2).update(name="many"),
          customer("post_save", 3, "many"), customer("post_save", 4, "many"))

    def rolled_back():
        try:
            with transaction.atomic():
                Customer.objects.create(name="never", email="")
                raise ValueError
        except ValueError:
            pass

    check("a transaction that is rolled back", rolled_back)
    product = Product.objects.create(name='Engine "1"', description="")
    sale = {"action": "new_sale", "customer_name": "Ada", "product_name": 'Engine "1"'}
    check("a sale names its customer and product", lambda: Sale.objects.create(customer=ada, product=product, quantity=3), sale)

    User.objects.create_superuser("admin", "", "admin")
    browser = Client()
    browser.force_login(User.objects.get())

    def edit():
        answer = browser.post("/admin/myapp/customer/2/change/", {"name": "by the admin", "email": "x@example.com"})
        assert answer.status_code == 302, answer.content

    check("an edit in the admin", edit, customer("post_save", 2, "by the admin"))
    check("a deletion in the admin", lambda: browser.post("/admin/myapp/customer/2/delete/", {"post": "yes"}), deleted(2, "by the admin"))
    check("delete of a queryset", lambda: Customer.objects.filter(name="many").delete(), deleted(3, "many"), deleted(4, "many"))
    check("delete with what refers to it", ada.delete, deleted(1, "Ada"))


def main():
    url, program, folder = sys.argv[1:]
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    setup(url)
    receiver = Receiver()
    daemon = Daemon(program, folder, url)
    hook = [{"url": receiver.url}]
    try:
        daemon.create({
            "config_signals": [{"signal": "post_save"}, {"signal": "post_delete"}],
            "content_types": [{"app_label": "myapp", "model_name": "Customer"}],
            "webhooks": hook, "payload": {"signal": "{{ signal }}", "id": "{{ instance.id|json }}", "name": "{{ instance.name }}"}})
        daemon.create({
            "config_signals": [{"signal": "post_save"}],
            "content_types": [{"app_label": "myapp", "model_name": "Sale"}],
            "webhooks": hook, "payload": {"action": "new_sale", "customer_name": "{{ instance.customer.name }}", "product_name": "{{ instance.product.name }}"}})
        check = Check(receiver)
        application(check, settings.DATABASES["default"]["ENGINE"].endswith("mysql"))
    finally:
        daemon.stop()
    print(f"{check.arrived} requests, {check.failed} of the steps wrong")
    sys.exit(1 if check.failed else 0)


main()
