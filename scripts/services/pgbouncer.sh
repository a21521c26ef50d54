#!/usr/bin/env bash
# PgBouncer on loopback, before a PostgreSQL of scripts/services.
#
#   pgbouncer.sh install|start|stop|kill|wipe|url|status
#
#   PGBOUNCER_INSTANCE  a name for one of its own                      (default none)
#   PGBOUNCER_PORT      its port                     (default 24632, or the next free one)
#   PGBOUNCER_TARGET    the port of the PostgreSQL                     (default 24015)
#   PGBOUNCER_CONF      more lines of its section [pgbouncer]
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/debian.sh"
check_system
dir=$(services_dir)
name=pgbouncer${PGBOUNCER_INSTANCE:+-$PGBOUNCER_INSTANCE}
d=$dir/$name
root=$dir/debian-pgbouncer-$suite

install() { debroot "$root" pgbouncer; }

start() {
  ! alive "$d/pid" || return 0
  local port
  mkdir -p "$d"; chmod 755 "$d"
  port=$(pick_port "$d/port" "${PGBOUNCER_PORT:-}" 24632)
  printf '%s\n' '[databases]' "* = host=127.0.0.1 port=${PGBOUNCER_TARGET:-24015} user=postgres password=postgres" \
    '[pgbouncer]' 'listen_addr = 127.0.0.1' "listen_port = $port" 'unix_socket_dir =' 'auth_type = any' 'pool_mode = transaction' \
    "${PGBOUNCER_CONF:-}" >"$d/pgbouncer.ini"
  own "$d"
  (cd "$d" && spawn "$d/pid" "$d/server.log" "${unprivileged[@]}" "$root/$loader" --library-path "$root/usr/lib/$triplet:$root/usr/lib" \
    "$root/usr/sbin/pgbouncer" "$d/pgbouncer.ini")
  wait_port "$port" "$d/pid" "$d/server.log" 30
}

url() { echo "postgres://postgres:postgres@127.0.0.1:$(cat "$d/port")/postgres?sslmode=disable"; }

serve WALTRIGGER_TEST_PGBOUNCER "$@"
