#!/usr/bin/env bash
# Shows waltrigger at work on this machine, with a PostgreSQL (and, where Java 17 and
# Maven are there, a Kafka) of its own. Ctrl-C ends everything.
#
#   DEMO_ONCE=1    end by itself: 0 if everything expected arrived, else 1
#   DEMO_KAFKA=0   without Kafka
#
# Needs neither root nor a user of its own. Everything lies in .work (make clean removes it).
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/check-go.sh
. scripts/services/lib.sh
check_system
dir=$(services_dir)
demo=$repo/.work/demo
mkdir -p "$demo"

# A complete PostgreSQL of the machine is good enough: only its programs are used.
if PG_MAJOR=host scripts/services/postgres.sh bin >/dev/null 2>&1; then
  major=host
  source="the PostgreSQL programs of this machine ($(PG_MAJOR=host scripts/services/postgres.sh bin))"
else
  major=17
  source="PostgreSQL 17 as a portable build through Maven, 15 MB, into $dir"
  if ! command -v mvn >/dev/null 2>&1; then
    die "the demo needs PostgreSQL 14 or newer, or Maven to fetch a portable one. Install either, for example: apt-get install postgresql (the demo uses its programs only, with data of its own)"
  fi
fi
kafka=
java_version=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1) || true
if [ "${DEMO_KAFKA:-1}" != 0 ] && command -v mvn >/dev/null 2>&1 && [ "${java_version:-0}" -ge 17 ]; then kafka=1; fi

cat <<WORDS
This takes, unless it is there already:
  - the Go modules of waltrigger, about 60 MB, into Go's own cache ($(${GO:-go} env GOMODCACHE))
  - $source
  - $(if [ -n "$kafka" ]; then echo "Kafka through Maven, 54 MB, into $dir"; else echo "no Kafka (it would need Java 17 and Maven)"; fi)
and keeps its data in $dir and $demo. "make clean" removes both.
WORDS

export PG_MAJOR=$major PG_INSTANCE=demo-$$ KAFKA_INSTANCE=demo-$$
cleanup() {
  trap '' INT TERM
  scripts/services/postgres.sh wipe || true
  [ -z "$kafka" ] || scripts/services/kafka.sh wipe || true
  rm -rf "${run:-}"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
run=$(mktemp -d "$demo/run-XXXXXX")

make -s build
CGO_ENABLED=0 "${GO:-go}" build -o "$demo/demo" ./scripts/demo
scripts/services/postgres.sh start
args=(-postgres "$(scripts/services/postgres.sh dsn)" -waltrigger bin/waltrigger -dir "$run")
if [ -n "$kafka" ]; then
  scripts/services/kafka.sh start
  args+=(-kafka "$(scripts/services/kafka.sh brokers)")
fi
if [ -n "${DEMO_ONCE:-}" ] && [ "${DEMO_ONCE:-}" != 0 ]; then args+=(-once); fi
# The program ends by itself at Ctrl-C and stops waltrigger in order; wait for it.
trap ':' INT TERM
"$demo/demo" "${args[@]}"
