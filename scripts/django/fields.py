"""What Django's serializer, and so Django Action Triggers without a payload, makes of the
types of PostgreSQL: writes testdata/payload/fields.jsonl.

    fields.py DSN >testdata/payload/fields.jsonl

Needs Django and psycopg, which scripts/django.sh installs into .work/django.
"""

import json
import sys
from urllib.parse import urlparse

import django
import psycopg
from django.conf import settings

with psycopg.connect(sys.argv[1], autocommit=True) as c:  # before Django looks for it
    c.execute("CREATE EXTENSION IF NOT EXISTS hstore")
url = urlparse(sys.argv[1])
settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": url.path[1:], "USER": url.username, "PASSWORD": url.password, "HOST": url.hostname, "PORT": url.port,
        }
    },
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.postgres"],
    USE_TZ=True,
)
django.setup()

from django.contrib.postgres.fields import ArrayField, HStoreField  # noqa: E402
from django.core import serializers  # noqa: E402
from django.db import connection, models  # noqa: E402

CASES = [
    ("boolean", models.BooleanField(null=True), ["true", "false", None]),
    ("bigint", models.BigIntegerField(), ["-9223372036854775808", "0"]),
    ("float8", models.FloatField(), ["1", "1e308", "0.1", "1e16", "1e15", "-0", "1e-5", "0.0001", "1.5e-7", "-123.25"]),
    ("numeric(12,4)", models.DecimalField(max_digits=12, decimal_places=4), ["1234567.5000", "0.0000", "-0.0001", "NaN"]),
    ("numeric(20,8)", models.DecimalField(max_digits=20, decimal_places=8), ["0.00000001", "0.00000123", "-0.00000123", "0", "0.00001", "1"]),
    ("varchar(200)", models.CharField(max_length=200), ["O'Brien \"\\é 😀 </b> \u2028 \x7f\n\t\x01", ""]),
    ("uuid", models.UUIDField(), ["0E37DF36-f698-11e6-8dd4-cb9ced3df976"]),
    ("bytea", models.BinaryField(), ["\\x00ff10", "\\x"]),
    ("timestamptz", models.DateTimeField(), ["2024-02-29 13:05:06.123456+00", "2024-02-29 13:05:06+00", "2024-02-29 13:05:06.0004+00", "2024-02-29 13:05:06.5+02"]),
    ("timestamp", models.DateTimeField(), ["2024-02-29 13:05:06.123456", "2024-02-29 13:05:06"]),
    ("date", models.DateField(), ["2024-02-29"]),
    ("time", models.TimeField(), ["13:05:06", "13:05:06.000004", "13:05:06.5"]),
    ("interval", models.DurationField(), [
        "1 day 02:00:03.000004", "1 year 2 mons 3 days 04:05:06.7", "-1 days", "-00:00:01.5", "0", "25:00:00",
        "-1 mon +1 day 00:00:01", "100 days -00:00:00.000001", "300 years",
    ]),
    ("jsonb", models.JSONField(), ['{"b": 1, "a": [1.5, null, "é"]}', '"text"', "null", "[]"]),
    ("inet", models.GenericIPAddressField(), ["10.0.0.1", "2001:db8::1"]),
    ("int[]", ArrayField(models.IntegerField(null=True)), ["{1,NULL,3}", "{}"]),
    ("int[]", ArrayField(ArrayField(models.IntegerField())), ["{{1,2},{3,4}}"]),
    ("text[]", ArrayField(models.TextField(null=True)), ['{a,"b\\"c",é,NULL}']),
    ("numeric(5,2)[]", ArrayField(models.DecimalField(max_digits=5, decimal_places=2)), ["{1.50,2}"]),
    ("boolean[]", ArrayField(models.BooleanField()), ["{t,f}"]),
    ("date[]", ArrayField(models.DateField()), ["{2024-02-29}"]),
    ("jsonb[]", ArrayField(models.JSONField()), ['{"{\\"a\\": 1}"}']),
    ("hstore", HStoreField(), ['a=>1, "b c"=>NULL, d=>é']),
]

for i, (kind, field, values) in enumerate(CASES):
    table = f"fields_{i}"
    model = type(f"M{i}", (models.Model,), {"__module__": __name__, "f": field, "Meta": type("Meta", (), {"app_label": "x", "db_table": table})})
    with connection.cursor() as c:
        c.execute(f"CREATE TEMP TABLE {table} (id bigserial PRIMARY KEY, f {kind})")
        for v in values:
            c.execute(f"INSERT INTO {table} (f) VALUES (%s::text::{kind})", [v])
    for row, v in zip(model.objects.order_by("id"), values, strict=True):
        body = json.loads(serializers.serialize("json", [row]))[0]["fields"]
        print(json.dumps({"type": kind, "value": v, "body": json.dumps(body)}))
