#!/usr/bin/env bash
# A Django application with waltrigger beside it, without a package in the application:
# every way of saving fires. Ends with 0 if all that is expected arrived.
#
#   scripts/django.sh [postgres|mysql|mariadb]...      postgres if none is named
#
# Uses the server at WALTRIGGER_TEST_POSTGRES, WALTRIGGER_TEST_MYSQL or
# WALTRIGGER_TEST_MARIADB, else a private one. Django comes from PyPI into .work/django.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/template/django.sh
python=$(dirname "$DJANGO_PYTHON")/python

# need MODULE REQUIREMENT: a driver from PyPI.
need() { "$python" -c "import $1" 2>/dev/null || "$python" -m pip install --quiet --disable-pip-version-check "$2"; }

sql() { "$python" scripts/django/sql.py "$admin" "$@"; }

# private SCRIPT PREFIX: a server of this run's own; its URL in admin.
private() {
  export "$2_INSTANCE=django-$$"
  scripts/services/"$1".sh start
  own=$1
  admin=$(scripts/services/"$1".sh url)
}

cleanup() {
  status=$?
  case $kind in
    postgres) sql "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '$database'" "DROP DATABASE IF EXISTS $database WITH (FORCE)" || true ;;
    *) sql "DROP DATABASE IF EXISTS $database" || true ;;
  esac
  [ -z "$own" ] || scripts/services/"$own".sh wipe || true
  if [ "$status" != 0 ]; then tail -n 50 "$folder/waltrigger.log" >&2 || true; fi
  rm -rf "$folder"
}

run() (
  kind=$1 own=
  case $kind in
    postgres) need psycopg 'psycopg[binary]==3.2.*'; admin=${WALTRIGGER_TEST_POSTGRES:-} ;;
    mysql) need pymysql 'PyMySQL[rsa]==1.2.*'; admin=${WALTRIGGER_TEST_MYSQL:-} ;;
    mariadb) need pymysql 'PyMySQL[rsa]==1.2.*'; admin=${WALTRIGGER_TEST_MARIADB:-} ;;
    *) echo "there is no $kind" >&2; exit 2 ;;
  esac
  folder=$(mktemp -d .work/django-XXXXXX)
  database=django_$$_$(date +%s)
  case $kind:$admin in
    postgres:) PG_MAJOR=17 private postgres PG ;;
    mysql:) private mysql MYSQL ;;
    mariadb:) private mariadb MARIADB ;;
  esac
  trap cleanup EXIT
  sql "CREATE DATABASE $database"
  url=$(sed -E "s#^([a-z]+://[^/]+)/[^?]*#\1/$database#" <<<"$admin")
  echo "$kind"
  if [ "$kind" = postgres ]; then diff <("$python" scripts/django/fields.py "$url") testdata/payload/fields.jsonl; fi # what payload_format fields is held to
  "$python" scripts/django/example.py "$url" "$PWD/bin/waltrigger" "$PWD/$folder"
)

make -s build
mkdir -p .work
[ $# != 0 ] || set -- postgres
for database in "$@"; do run "$database"; done
