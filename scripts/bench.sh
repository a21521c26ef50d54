#!/usr/bin/env bash
# Throughput, CPU and memory of waltrigger beside bare loops and the machine's limits,
# all in one run on this machine. About three minutes; nothing else should run meanwhile.
#
#   scripts/bench.sh [-rows 200000] [-reps 1] [-ordering customer|row]
#                    [-scenarios limits,http-tx100,http-onetx,kafka-tx100,kafka-onetx,http-relations,kafka-relations]
#                    [-waltrigger BINARY]      "" leaves the product out
#
# The rows (-rows) are written in transactions of 100 (tx100) and in one (onetx); each
# peer reads them from a slot of its own. The table shows per peer events per second,
# the ratio to the bare loop of the same run, CPU seconds per 100,000 events, peak
# memory (resident and anonymous), and what was lost, came twice or out of order. The
# relations scenarios compare a payload with related rows, three steps away and renamed
# in between, with one without: their ratio, the queries and the hit rate. Each
# result is also a line in .work/bench/results.jsonl. Exits with 1 if anything was lost
# or out of order. BENCH_PG_MAJOR (15) chooses the PostgreSQL.
set -euo pipefail
cd "$(dirname "$0")/.."
case " $* " in *" -h "* | *" --help "*) sed -n '2,/^# or out/p' "$0" | sed -n 's/^# \{0,1\}//p'; exit ;; esac
scripts/check-go.sh
mkdir -p .work/bench
make -s build
CGO_ENABLED=0 "${GO:-go}" build -o .work/bench/bench ./scripts/bench

export PG_MAJOR=${BENCH_PG_MAJOR:-15} PG_INSTANCE=bench KAFKA_INSTANCE=bench KAFKA_HEAP=768m
# As a production server would be, but for the housekeeping in between.
export PG_ARGS="-c fsync=on -c synchronous_commit=on -c shared_buffers=512MB -c max_wal_size=8GB -c autovacuum=off"
trap 'scripts/services/postgres.sh stop; scripts/services/kafka.sh wipe' EXIT
scripts/services/postgres.sh start
scripts/services/kafka.sh start
.work/bench/bench -postgres "$(scripts/services/postgres.sh dsn)" -kafka "$(scripts/services/kafka.sh brokers)" \
  -dir .work/bench -waltrigger "$PWD/bin/waltrigger" "$@"
