"""What real Django makes of a template: the reference for pkg/template.

A case is a dict as one line of `waltrigger render --jsonl` has it. Exceptions are
reported as a class: "syntax" for a template that does not parse, else the exception's.
"""

import base64
import datetime
import decimal
import json
import os
import resource
import sys
import time
import types

import django
from django.conf import settings

settings.configure(USE_TZ=True, TIME_ZONE="UTC", DEBUG=False, LOGGING_CONFIG=None)
django.setup()

from django.template import Context, Engine  # noqa: E402
from django.template import defaulttags  # noqa: E402
from django.utils import timesince, timezone  # noqa: E402
from django.utils.safestring import mark_safe  # noqa: E402

VERSION = "Django %s" % django.get_version()

# Django has no limits: {{ x|ljust:20000000000 }} would take all memory of the machine.
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))

REAL = datetime.datetime
frozen = None  # what now() gives, or None


class FrozenMeta(type):
    def __instancecheck__(cls, obj):
        return isinstance(obj, REAL)


class Frozen(metaclass=FrozenMeta):
    def __new__(cls, *args, **kwargs):
        return REAL(*args, **kwargs)

    @staticmethod
    def now(tz=None):
        if frozen is None:
            return REAL.now(tz)
        if tz is None:
            return frozen.astimezone(timezone.get_default_timezone()).replace(tzinfo=None)
        return frozen.astimezone(tz)


timesince.datetime = types.SimpleNamespace(datetime=Frozen)
defaulttags.datetime = Frozen

engines = {}
zone_now = "UTC"


def engine(string_if_invalid):
    if string_if_invalid not in engines:
        engines[string_if_invalid] = Engine(string_if_invalid=string_if_invalid)
    return engines[string_if_invalid]


def set_zone(name):
    global zone_now
    if name == zone_now:
        return
    zone_now = name
    settings.TIME_ZONE = name
    os.environ["TZ"] = name
    time.tzset()
    timezone.get_default_timezone.cache_clear()


def decode(value):
    if isinstance(value, list):
        return [decode(v) for v in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        (key, v), = value.items()
        if key.startswith("$"):
            return typed(key, v)
    return {k: decode(v) for k, v in value.items()}


def typed(key, v):
    if key == "$decimal":
        return decimal.Decimal(v)
    if key == "$float":
        return float(v)
    if key == "$safe":
        return mark_safe(v)
    if key == "$bytes":
        return base64.b64decode(v)
    if key == "$duration":
        return datetime.timedelta(seconds=v)
    if key == "$datetime":
        return REAL.fromisoformat(v)
    if key == "$date":
        return datetime.date.fromisoformat(v)
    if key == "$time":
        return datetime.time.fromisoformat(v)
    raise ValueError(key)


def render(case):
    """Return ("output", text) or ("class", name of the exception)."""
    global frozen
    set_zone(case.get("zone", "UTC"))
    frozen = REAL.fromisoformat(case["now"]) if case.get("now") else None
    try:
        t = engine(case.get("string_if_invalid", "")).from_string(case["template"])
    except Exception:
        return "class", "syntax"
    try:
        context = Context(decode(case.get("context") or {}), autoescape=case.get("autoescape", False))
        return "output", str(t.render(context))
    except Exception as e:
        return "class", type(e).__name__


def main():
    for line in sys.stdin:
        key, value = render(json.loads(line))
        print(json.dumps({key: value}))


if __name__ == "__main__":
    main()
