#!/usr/bin/env bash
# A Django application with waltrigger beside it, without a package in the application:
# every way of saving fires. Ends with 0 if all that is expected arrived.
#
# Uses the server at WALTRIGGER_TEST_POSTGRES, else a private one. Django comes from PyPI
# into .work/django.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/template/django.sh
python=$(dirname "$DJANGO_PYTHON")/python
if ! "$python" -c 'import psycopg' 2>/dev/null; then "$python" -m pip install --quiet --disable-pip-version-check 'psycopg[binary]==3.2.*'; fi
make -s build
mkdir -p .work
folder=$(mktemp -d .work/django-XXXXXX)
database=django_$$_$(date +%s)
admin=${WALTRIGGER_TEST_POSTGRES:-}
if [ -z "$admin" ]; then
  export PG_MAJOR=17 PG_INSTANCE=django-$$
  scripts/services/postgres.sh start
  admin=$(scripts/services/postgres.sh dsn)
fi
sql() {
  "$python" - "$admin" "$@" <<'PY'
import sys, psycopg
with psycopg.connect(sys.argv[1], autocommit=True) as c:
    for statement in sys.argv[2:]:
        c.execute(statement)
PY
}
cleanup() {
  status=$?
  sql "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '$database'" "DROP DATABASE $database WITH (FORCE)" || true
  [ -z "${PG_INSTANCE:-}" ] || scripts/services/postgres.sh wipe || true
  if [ "$status" != 0 ]; then tail -n 50 "$folder/waltrigger.log" >&2 || true; fi
  rm -rf "$folder"
}
trap cleanup EXIT
sql "CREATE DATABASE $database"
url=$(sed -E "s#^(postgres(ql)?://[^/]+)/[^?]*#\1/$database#" <<<"$admin")
diff <("$python" scripts/django/fields.py "$url") testdata/payload/fields.jsonl # what payload_format fields is held to
"$python" scripts/django/example.py "$url" "$PWD/bin/waltrigger" "$PWD/$folder"
