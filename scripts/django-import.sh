#!/usr/bin/env bash
# Triggers of Django Action Triggers, the Python package, imported: what waltrigger then
# sends is compared with what the package itself sends for the same writes. Ends with 0 if
# all is the same but for the deviations that scripts/django/importing.py lists.
#
# Uses the servers at WALTRIGGER_TEST_POSTGRES and WALTRIGGER_TEST_REDIS, else private
# ones. The package comes from PyPI into .work/action-triggers.
set -euo pipefail
export PYTHONDONTWRITEBYTECODE=1
cd "$(dirname "$0")/.."
python=$PWD/.work/action-triggers/bin/python
wanted="django-action-triggers==0.5.2 Django==5.0.14 djangorestframework==3.15.1 aiohttp==3.14.5 redis==5.3.1 psycopg[binary]==3.2.13"
if [ "$(cat .work/action-triggers/.wanted 2>/dev/null)" != "$wanted" ]; then
  echo "installing Django Action Triggers 0.5.2 into .work/action-triggers" >&2
  rm -rf .work/action-triggers
  python3 -m venv .work/action-triggers
  # shellcheck disable=SC2086  # a list
  "$python" -m pip install --quiet --disable-pip-version-check $wanted
  echo "$wanted" >.work/action-triggers/.wanted
fi
make -s build
folder=$(mktemp -d .work/django-import-XXXXXX)
database=django_import_$$_$(date +%s)
admin=${WALTRIGGER_TEST_POSTGRES:-} redis=${WALTRIGGER_TEST_REDIS:-} private=()
if [ -z "$admin" ]; then
  private+=(postgres)
  export PG_MAJOR=17 PG_INSTANCE=django-import-$$
  scripts/services/postgres.sh start
  admin=$(scripts/services/postgres.sh dsn)
fi
if [ -z "$redis" ]; then
  private+=(redis)
  export REDIS_INSTANCE=django-import-$$
  scripts/services/redis.sh start
  redis=$(scripts/services/redis.sh url)
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
  for service in "${private[@]}"; do "scripts/services/$service.sh" wipe || true; done
  if [ "$status" != 0 ]; then tail -n 50 "$folder/waltrigger.log" >&2 || true; fi
  rm -rf "$folder"
}
trap cleanup EXIT
sql "CREATE DATABASE $database"
"$python" scripts/django/importing.py "$(sed -E "s#^(postgres(ql)?://[^/]+)/[^?]*#\1/$database#" <<<"$admin")" "$redis" "$PWD/bin/waltrigger" "$PWD/$folder"
