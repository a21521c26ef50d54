# For the Django project that has the triggers: python manage.py shell < this file
# writes models.json, which waltrigger import-django --models reads. It changes nothing.
import json

import django
from django.apps import apps
from django.conf import settings
from django.db.models import Model


def describe(model):
    meta = model._meta
    related = [r for r in meta.related_objects if r.get_accessor_name()]
    fields = [
        {
            "name": f.name, "attname": f.attname, "column": f.column, "type": f.get_internal_type(), "key": f.primary_key,
            "model": f.model._meta.label_lower, "to": f.related_model._meta.label_lower if f.remote_field else None,
            "to_column": f.target_field.column if f.remote_field else None,
        }
        for f in meta.concrete_fields
    ]
    many = [f.name for f in meta.many_to_many] + [r.get_accessor_name() for r in related if r.many_to_many]
    reverse = [
        {"name": r.get_accessor_name(), "model": r.related_model._meta.label_lower, "field": r.field.name, "many": not r.one_to_one}
        for r in related
        if not r.many_to_many
    ]
    known = {f["name"] for f in fields} | {f["attname"] for f in fields} | set(many) | {r["name"] for r in reverse}
    return {
        "app_label": meta.app_label, "model": meta.model_name, "name": meta.object_name, "table": meta.db_table,
        "proxy_for": meta.concrete_model._meta.label_lower if meta.proxy else None,
        "parents": {p._meta.label_lower: link.name for p, link in meta.parents.items() if link},
        "fields": fields, "reverse": reverse, "many_to_many": many, "own_many_to_many": [f.name for f in meta.local_many_to_many],
        "python": sorted(n for n in dir(model) if not n.startswith("_") and n not in known and not hasattr(Model, n)),
    }


def endpoints(name):
    return {
        k: {"broker_type": v.get("broker_type"), "conn_details": sorted(v.get("conn_details") or {}), "params": sorted(v.get("params") or {})}
        for k, v in (triggers.get(name) or {}).items()
    }


triggers = getattr(settings, "ACTION_TRIGGERS", None) or {}
limits = getattr(settings, "ACTION_TRIGGER_SETTINGS", None) or {}
with open("models.json", "w") as out:
    json.dump(
        {
            "format": 1, "django": django.get_version(), "table_prefix": getattr(settings, "DB_TABLE_PREFIX", "action_triggers_"),
            "models": [describe(m) for m in apps.get_models()], "brokers": endpoints("brokers"), "actions": endpoints("actions"),
            "settings": {
                "content_types": sorted(triggers.get("whitelisted_content_types") or []),
                "webhook_patterns": list(triggers["whitelisted_webhook_endpoint_patterns"]) if "whitelisted_webhook_endpoint_patterns" in triggers else None,
                "webhook_timeout": limits.get("MAX_WEBHOOK_TIMEOUT"), "broker_timeout": limits.get("MAX_BROKER_TIMEOUT"),
                "action_timeout": limits.get("MAX_ACTION_TIMEOUT"),
            },
        },
        out,
    )
