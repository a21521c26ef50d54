#!/usr/bin/env bash
# PostgreSQL with wal_level=logical on loopback, user postgres, password postgres.
#
#   postgres.sh install|start|stop|kill|clone|wipe|env|dsn|url|status|bin
#
#   PG_MAJOR        14 to 18, or host: the newest complete installation (14 or newer)
#                   of this machine                                  (default 15)
#   PG_INSTANCE     a name for a server of its own beside the tests'  (default none)
#   PG_PORT         its port            (default 24000+major, or the next free one)
#   PG_ARGS         more server options, e.g. "-c shared_buffers=512MB"
#   PG_PRIMARY      for clone: another PG_INSTANCE of this major version, stopped, whose
#                   asynchronous standby this one becomes
#
# The programs come from Maven Central as portable builds for x86-64 and arm64; without
# Maven an installation of the same major version on this machine serves as well.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
check_system
dir=$(services_dir)
major=${PG_MAJOR:-15}
name=postgres-$major${PG_INSTANCE:+-$PG_INSTANCE}
d=$dir/$name
why="run PostgreSQL $major"

version_of() { # MAJOR: the release that is fetched
  case $1 in
    14) echo 14.24.0 ;; 15) echo 15.19.0 ;; 16) echo 16.15.0 ;; 17) echo 17.11.0 ;; 18) echo 18.6.0 ;;
    *) die "PostgreSQL $1 is not among the versions 14 to 18" ;;
  esac
}

# host_bin [MAJOR]: folder of a complete installation of this machine, if there is one.
host_bin() {
  local b v best=0 found=
  for b in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/local/pgsql/bin "$(pg_config --bindir 2>/dev/null || true)"; do
    [ -x "$b/postgres" ] && [ -x "$b/initdb" ] || continue
    v=$("$b/postgres" --version | sed -n 's/.* \([0-9][0-9]*\).*/\1/p')
    [ "${v:-0}" -ge 14 ] && [ "$v" -gt "$best" ] || continue
    [ -z "${1:-}" ] || [ "$1" = "$v" ] || continue
    best=$v found=$b
  done
  [ -n "$found" ] && echo "$found"
}

bin() { # folder of the programs
  if [ "$major" = host ]; then
    host_bin || die "this machine has no complete PostgreSQL 14 or newer (initdb and postgres)"
    return
  fi
  local v; v=$(version_of "$major")
  if [ -e "$dir/postgres-$v/.done" ]; then echo "$dir/postgres-$v/bin"; return; fi
  if ! command -v mvn >/dev/null 2>&1 && host_bin "$major"; then return; fi
  echo "$dir/postgres-$v/bin"
}

unpack_jar() { # JAR DIR
  if command -v unzip >/dev/null 2>&1; then unzip -q -o "$1" -d "$2"
  elif command -v python3 >/dev/null 2>&1; then python3 -m zipfile -e "$1" "$2"
  elif command -v jar >/dev/null 2>&1; then (cd "$2" && jar xf "$1")
  else die "unzip is missing; install it to unpack PostgreSQL"; fi
}

install() {
  local b v arch t
  b=$(bin)
  case $b in "$dir"/*) ;; *) return 0 ;; esac
  v=$(version_of "$major"); t=$dir/postgres-$v
  [ ! -e "$t/.done" ] || return 0
  case $(uname -m) in
    x86_64) arch=amd64 ;; aarch64) arch=arm64v8 ;;
    *) die "there is no portable PostgreSQL for $(uname -m); install PostgreSQL $major on this machine, or set WALTRIGGER_TEST_POSTGRES to a server of your own" ;;
  esac
  need xz xz-utils "unpack PostgreSQL" xz
  say "services: fetching PostgreSQL $v (15 MB) into $t"
  rm -rf "$t"; mkdir -p "$t/dl"
  mvn_get "$dir" dependency:copy \
    -Dartifact="io.zonky.test.postgres:embedded-postgres-binaries-linux-$arch:$v" -DoutputDirectory="$t/dl"
  unpack_jar "$(echo "$t"/dl/*.jar)" "$t/dl"
  tar -xJf "$(echo "$t"/dl/*.txz)" -C "$t"
  rm -rf "$t/dl"
  chmod -R a+rX "$t"
  touch "$t/.done"
}

locale_of() {
  local all; all=$(locale -a 2>/dev/null | tr '\n' ' ' || true)
  case " ${all,,} " in *" c.utf8 "* | *" c.utf-8 "*) echo C.UTF-8 ;; *) echo C ;; esac
}

clone() {
  local from=$dir/postgres-$major-$PG_PRIMARY
  ! alive "$from/pid" || die "stop the primary first: its data are copied"
  mkdir -p "$d"; chmod 755 "$d"
  cp -a "$from/data" "$d/data"
  touch "$d/data/standby.signal"
  echo "primary_conninfo = 'host=127.0.0.1 port=$(cat "$from/port") user=postgres password=postgres dbname=postgres'" >>"$d/data/postgresql.auto.conf"
  own "$d"
}

start() {
  install
  ! alive "$d/pid" || return 0
  local b port; b=$(bin)
  mkdir -p "$d"; chmod 755 "$d"
  if [ ! -e "$d/data/PG_VERSION" ]; then
    rm -rf "$d/data"; mkdir -m 700 "$d/data"; echo postgres >"$d/password"
    own "$d"
    as "$b/initdb" -D "$d/data" -U postgres --pwfile="$d/password" -A scram-sha-256 \
      -E UTF8 --locale="$(locale_of)" >"$d/initdb.log" 2>&1 || { cat "$d/initdb.log" >&2; die "initdb of $name failed"; }
  fi
  port=$(pick_port "$d/port" "${PG_PORT:-}" $((24000 + $(cut -d. -f1 "$d/data/PG_VERSION"))))
  # No Unix socket: its path may not be longer than 107 bytes, ours may be anywhere.
  # fsync off: the tests kill servers and clients, not the machine.
  local run=()
  [ -z "$svc_user" ] || run=(setpriv --reuid="$svc_user" --regid="$(id -g "$svc_user")" --clear-groups env HOME=/)
  # shellcheck disable=SC2086  # PG_ARGS is a list of options
  (cd "$d" && spawn "$d/pid" "$d/server.log" "${run[@]}" "$b/postgres" -D "$d/data" -p "$port" \
    -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c wal_level=logical -c max_wal_senders=40 \
    -c max_replication_slots=40 -c max_connections=200 -c max_prepared_transactions=20 -c fsync=off ${PG_ARGS:-})
  wait_port "$port" "$d/pid" "$d/server.log" 60
  ready "$port"
}

# The port opens before recovery is over: wait until the log says that it accepts.
ready() {
  local i
  for i in $(seq 600); do
    if awk '/ starting PostgreSQL/ {r = 0} /ready to accept (read-only )?connections/ {r = 1} END {exit !r}' "$d/server.log"; then return 0; fi
    alive "$d/pid" || break
    sleep 0.1
  done
  tail -n 20 "$d/server.log" >&2; die "$name does not accept connections"
}

halt() { stop_pid "$d/pid" "${1:-INT}"; } # INT is PostgreSQL's fast shutdown; TERM would wait for clients

url() { echo "postgres://postgres:postgres@127.0.0.1:$(cat "$d/port")/postgres?sslmode=disable"; }

case ${1:-} in
  clone) locked "$dir/.lock-$name" clone ;;
  dsn) running ;;
  bin) bin ;;
  *) serve WALTRIGGER_TEST_POSTGRES "$@" ;;
esac
