#!/usr/bin/env bash
# The real services that the tests use, all on loopback, all in one folder
# (WALTRIGGER_SERVICES_DIR, default .work/services); the machine's own are left alone.
#
#   scripts/services.sh install|start|stop|status [SERVICE...]
#   scripts/services.sh env      prints the exports for the tests: eval "$(scripts/services.sh env)"
#   scripts/services.sh wipe     stops everything and removes the data
#   scripts/services.sh purge    the same, and the programs
#   scripts/services.sh dir      prints the folder
#
# SERVICE is postgres-14 … postgres-18, mysql, mariadb-10.11, mariadb-11.8, kafka, redis,
# nats, mosquitto, rabbitmq or moto; the default is WALTRIGGER_SERVICES, else: postgres-15
# postgres-17 and one of each other
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)/services
. "$here/lib.sh"

verb=${1:-}; [ $# = 0 ] || shift
read -r -a names <<<"${WALTRIGGER_SERVICES:-postgres-15 postgres-17 mysql mariadb-10.11 mariadb-11.8 kafka redis nats mosquitto rabbitmq moto}"
[ $# = 0 ] || names=("$@")

one() { # NAME VERB
  case $1 in
    postgres-[0-9]*) PG_MAJOR=${1#postgres-} "$here/postgres.sh" "$2" ;;
    mariadb-[0-9]*) MARIADB_VERSION=${1#mariadb-} "$here/mariadb.sh" "$2" ;;
    mysql | kafka | redis | nats | mosquitto | rabbitmq | moto) "$here/$1.sh" "$2" ;;
    *) die "there is no service $1; there are postgres-14 … postgres-18, mysql, mariadb-10.11, mariadb-11.8, kafka, redis, nats, mosquitto, rabbitmq and moto" ;;
  esac
}

each() { local n; for n in "${names[@]}"; do one "$n" "$1"; done; }

# Every server below the folder, also those started under other names (demo, bench).
stop_all() {
  local dir f; dir=$(services_dir)
  for f in "$dir"/postgres-*/pid; do [ ! -e "$f" ] || stop_pid "$f" INT; done
  for f in "$dir"/{mysql,mariadb,kafka,redis,nats,mosquitto,rabbitmq,moto}*/pid; do [ ! -e "$f" ] || stop_pid "$f"; done
}

env_lines() {
  local n dsn all=() maria=() others=
  for n in "${names[@]}"; do
    case $n in
      postgres-*) dsn=$(PG_MAJOR=${n#postgres-} "$here/postgres.sh" dsn); all+=("$dsn") ;;
      mariadb-*) dsn=$(MARIADB_VERSION=${n#mariadb-} "$here/mariadb.sh" url); maria+=("$dsn") ;;
      *) others+=$("$here/$n.sh" env)$'\n' ;;
    esac
  done
  if [ ${#all[@]} -gt 0 ]; then
    echo "export WALTRIGGER_TEST_POSTGRES='${all[0]}'"
    echo "export WALTRIGGER_TEST_POSTGRES_ALL='${all[*]}'"
  fi
  if [ ${#maria[@]} -gt 0 ]; then
    echo "export WALTRIGGER_TEST_MARIADB='${maria[0]}'"
    echo "export WALTRIGGER_TEST_MARIADB_ALL='${maria[*]}'"
  fi
  printf %s "$others"
}

case $verb in
  install | start | status) each "$verb" ;;
  stop) if [ $# = 0 ]; then stop_all; else each stop; fi ;;
  env) env_lines ;;
  wipe)
    stop_all; dir=$(services_dir)
    for f in "$dir"/{postgres-,mysql,mariadb-,kafka,redis,nats,mosquitto,rabbitmq}*/data; do [ ! -e "$f" ] || rm -rf "${f%/data}"; done ;;
  purge) stop_all; rm -rf "$(services_dir)" ;;
  dir) services_dir ;;
  *) sed -n '2,/^set /p' "$0" | sed -n 's/^# \{0,1\}//p' >&2; exit 2 ;;
esac
