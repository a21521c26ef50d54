"""The Django project of importing.py, with and without Django Action Triggers.

    project.py DATABASE_URL REDIS_URL with|without COMMAND…

COMMAND is one of manage.py; triggers URL, which makes the triggers; writes, which saves
once for each line of its standard input and answers with a line; or empty, which takes
all rows away.
"""

import datetime
import sys
import urllib.parse
import uuid

import django
from django.conf import settings
from django.core.management import call_command, execute_from_command_line


def setup(url, redis, installed):
    u = urllib.parse.urlsplit(url)
    settings.configure(
        SECRET_KEY="of no worth", USE_TZ=True, TIME_ZONE="UTC", DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": u.path[1:], "USER": u.username,
                               "PASSWORD": u.password, "HOST": u.hostname, "PORT": u.port}},
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "shop"] + ["action_triggers"] * installed,
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
        ACTION_TRIGGERS={
            "brokers": {
                "pubsub": {"broker_type": "redis", "conn_details": {"url": redis}, "params": {"channel": "django-import"}},
                "open": {"broker_type": "Redis", "conn_details": {"url": redis}, "params": {}},
            },
            "actions": {}, "whitelisted_webhook_endpoint_patterns": ["http://127\\.0\\.0\\.1:"],
        },
        ACTION_TRIGGER_SETTINGS={"ALLOWED_DYNAMIC_IMPORT_PATHS": ("shop.values.token", "shop.values.LABEL"), "MAX_WEBHOOK_TIMEOUT": 10},
        LOGGING={"version": 1, "handlers": {"console": {"class": "logging.StreamHandler"}}, "root": {"handlers": ["console"], "level": "WARNING"}},
    )
    django.setup()


def triggers(base):
    """Each trigger sends to a path, or by a broker, of its own label."""
    from action_triggers.models import Action, Config, ConfigSignal, MessageBrokerQueue, Webhook
    from django.contrib.contenttypes.models import ContentType

    from shop.models import Customer, Invoice, Product, Sale, Tag, VipCustomer

    def trigger(label, models, payload=None, signals=("post_save",), active=True, webhooks=({},), queues=(), proxies=False):
        config = Config.objects.create(payload=payload, active=active)
        config.content_types.set([ContentType.objects.get_for_model(m, for_concrete_model=not proxies) for m in models])
        ConfigSignal.objects.bulk_create(ConfigSignal(config=config, signal=s) for s in signals)
        for n, w in enumerate(webhooks):
            Webhook.objects.create(config=config, **{"url": f"{base}{label}/{n}", **w})
        for q in queues:
            MessageBrokerQueue.objects.create(config=config, **q)
        print(config.id, label)

    both = ("post_save", "post_delete")
    trigger("fields", [Customer, Sale, Tag], signals=both)
    trigger("renamed-fields", [Product], signals=both)
    trigger("object", [Sale], {"action": "new_sale", "customer_name": "{{ instance.customer.name }}", "product_name": "{{ instance.product.name }}"})
    trigger("renamed", [Sale], {"by": "{{ instance.recommended_by.name }}", "costs": "{{ instance.product.price }}", "ids": ["{{ instance.product_id }}", "{{ instance.recommended_by_id }}"], "n": 5})
    trigger("related", [Customer], "Sales: {{ instance.sale_set.count }} {{ instance.recommendations.all.0.quantity }} {{ instance.profile.motto }}{% for s in instance.sale_set.all %} {{ s.product.name }}{% endfor %}")
    trigger("inherited", [Invoice], {"title": "{{ instance.title }}", "of": "{{ instance.sale.customer.name }}", "total": "{{ instance.total }}"})
    trigger("text", [Customer], "Customer {{ instance.name }} <{{ instance.email|lower }}>")
    trigger("json-text", [Customer], '{"n": "{{ instance.name }}", "len": {{ instance.name|length }}}')
    trigger("escaped", [Customer], {"name": "{{ instance.name|escapejs }}"})
    trigger("python", [Customer], {"ok": True, "name": "{{ instance.name }}"})
    trigger("logic", [Customer, Product], {"kind": "{% if instance.vip %}vip{% elif instance.price %}product{% else %}customer{% endif %}", "nested": {"a": [1, "{{ instance.name|upper|slice:':3' }}"]}, "{{ instance.name|length }}": "key"})
    trigger("filters", [Product], "{{ instance.price|floatformat:1 }} {{ instance.since|date:'Y-m-d' }} {{ instance.added|date:'H:i' }} {{ instance.details.colour|default:'none' }} {{ instance.weight }} {{ instance.pk }}")
    trigger("dates", [Product], "{{ instance.since }}; {{ instance.added }}")
    trigger("booleans", [Customer], "{{ instance.vip }} {{ instance.note }} {{ instance.id }}")
    trigger("number", [Tag], "{{ instance.id }}")
    trigger("headers", [Customer], "x", webhooks=[
        {"headers": {"Authorization": "Bearer {{ shop.values.token }}", "X-Two": "{{shop.values.LABEL}}, {{ shop.values.token }}.", "X-Plain": "plain", "User-Agent": "shop/1"}, "timeout_secs": 5.5},
        {"headers": {"Content-Type": "application/x-own"}}])
    trigger("methods", [Tag], {"name": "{{ instance.name }}"}, webhooks=[{"http_method": m} for m in ("GET", "PUT", "PATCH", "DELETE")])
    trigger("before", [Customer], "{{ instance.id }} {{ instance.name }}", signals=("pre_save", "pre_delete"))
    trigger("inactive", [Customer], active=False)
    trigger("broker", [Customer], {"name": "{{ instance.name }}"}, webhooks=(), queues=[{"name": "pubsub", "parameters": {"channel": "nobody listens"}}])
    trigger("broker-fields", [Tag], webhooks=(), queues=[{"name": "open", "parameters": {"channel": "django-import"}, "timeout_secs": 2}])
    trigger("broker-text", [Tag], "Tag {{ instance.name }}", webhooks=(), queues=[{"name": "open", "parameters": {"channel": "django-import"}}])
    trigger("twice", [Tag], "{{ instance.name }}", signals=("post_save", "post_save"))
    trigger("proxy", [VipCustomer], "never", proxies=True)
    trigger("property", [Customer], {"text": "{{ instance.greeting }}"})
    trigger("method", [Customer], "{{ instance.get_next_by_date }}")
    trigger("object-itself", [Customer], "{{ instance }}")
    trigger("no-instance", [Customer], {"name": "{{ customer.name }}"})
    trigger("library", [Customer], "{% load static %}{{ instance.name }}")
    trigger("split", [Customer], {"a": "{% if instance.vip %}1", "b": "2{% endif %}"})


def writes():
    """The statements, each a function; its docstring is told by importing.py."""
    from django.db import transaction

    from shop.models import Customer, Invoice, Product, Profile, Sale, Tag, VipCustomer

    def customer(**kw):
        return Customer.objects.create(**{"email": "Someone@Example.com", **kw})

    def update(objects, **kw):
        for k, v in kw.items():
            setattr(objects, k, v)
        objects.save()

    def together():
        with transaction.atomic():
            customer(name="First")
            customer(name="Second", note="n")

    key = uuid.UUID("0e37df36-f698-11e6-8dd4-cb9ced3df976")
    ada = lambda: Customer.objects.get(id=1)
    yield "a new customer", lambda: customer(name="Ada", vip=True)
    yield "a name with quotation marks and HTML", lambda: customer(name="O'Brien <b>&amp; \"Co\"")
    yield "a name with a line break and a backslash", lambda: customer(name="two\nlines \\x41")
    yield "a name beyond ASCII", lambda: customer(name="Zoë 😀 \u2028", note="")
    yield "an update", lambda: update(ada(), name="Ada L.", email="ADA@example.com")
    yield "a save without a change", lambda: ada().save()
    yield "an update of some fields", lambda: (lambda c: (setattr(c, "note", "x"), c.save(update_fields=["note"])))(ada())
    yield "a save through a proxy", lambda: VipCustomer.objects.create(name="Vip", email="v@example.com", vip=True)
    yield "two saves in a transaction", together
    yield "get_or_create", lambda: Customer.objects.get_or_create(name="Got", defaults={"email": "g@example.com"})
    yield "a product", lambda: Product.objects.create(
        id=key, name="Engine", price="19.90", weight=1.5, details={"colour": "red", "sizes": [1, None]}, since=datetime.date(2024, 2, 29),
        added=datetime.datetime(2024, 2, 29, 13, 5, 6, 123456, tzinfo=datetime.timezone.utc))
    yield "a product with nulls", lambda: Product.objects.create(id=uuid.UUID(int=7), name="Nut", price="0.01")
    yield "a sale", lambda: Sale.objects.create(customer=ada(), product_id=key, recommended_by_id=2, quantity=3)
    yield "a sale without a reference", lambda: Sale.objects.create(customer_id=3, product_id=uuid.UUID(int=7), quantity=-1)
    yield "an update of a sale", lambda: update(Sale.objects.get(id=1), quantity=4)
    yield "a save of whom rows refer to", lambda: (Profile.objects.create(customer=ada(), motto="Onwards"), ada().save())
    yield "the same the other way round", lambda: Customer.objects.get(id=2).save()
    yield "a row of two tables", lambda: Invoice.objects.create(title="Invoice 1", sale_id=1, total=12)
    yield "tags", lambda: [Tag.objects.create(name=n) for n in "ab"]
    yield "an instance's delete", lambda: Tag.objects.get(id=1).delete()
    yield "a queryset's delete", lambda: Sale.objects.filter(quantity__lt=0).delete()
    yield "a delete that cascades", lambda: ada().delete()
    yield "a product's delete", lambda: Product.objects.get(id=uuid.UUID(int=7)).delete()


def main():
    url, redis, installed, command = sys.argv[1:5]
    setup(url, redis, installed == "with")
    if command == "triggers":
        triggers(sys.argv[5])
    elif command == "writes":
        for what, act in writes():
            if not sys.stdin.readline():
                return
            act()
            print(what, flush=True)
    elif command == "empty":  # and deletes are to show the whole row, as the import says
        from django.db import connection

        with connection.cursor() as c:
            for table in ("shop_customer", "stock_item", "shop_sale", "shop_tag", "shop_invoice"):
                c.execute(f"ALTER TABLE {table} REPLICA IDENTITY FULL")
            c.execute("TRUNCATE shop_customer, stock_item, shop_sale, shop_tag, shop_invoice, shop_document RESTART IDENTITY CASCADE")
    elif command == "migrate":
        call_command("migrate", run_syncdb=True, verbosity=0)
    else:
        execute_from_command_line(["manage.py", *sys.argv[4:]])


main()
