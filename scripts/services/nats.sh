#!/usr/bin/env bash
# NATS with JetStream on loopback.
#
#   nats.sh install|start|stop|kill|wipe|env|url|status
#
#   NATS_INSTANCE   a name for a server of its own beside the tests'   (default none)
#   NATS_PORT       its port                  (default 24222, or the next free one)
#   NATS_CONF       more lines of its configuration
#   SERVICE_FILES   a folder whose files the server finds below files/
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/debian.sh"
check_system
dir=$(services_dir)
name=nats${NATS_INSTANCE:+-$NATS_INSTANCE}
d=$dir/$name
root=$dir/debian-nats-$suite

install() { debroot "$root" nats-server; }

start() {
  ! alive "$d/pid" || return 0
  local port
  mkdir -p "$d/data"; chmod 755 "$d"
  port=$(pick_port "$d/port" "${NATS_PORT:-}" 24222)
  printf '%s\n' "host: 127.0.0.1" "port: $port" "jetstream { store_dir: \"$d/data\", max_file_store: 1GB, max_memory_store: 64MB }" \
    "${NATS_CONF:-}" >"$d/nats.conf"
  give_files "$d"; own "$d"
  (cd "$d" && spawn "$d/pid" "$d/server.log" "${unprivileged[@]}" "$root/$loader" --library-path "$root/usr/lib/$triplet:$root/usr/lib" \
    "$(ls -d "$root"/usr/*bin/nats-server)" -c "$d/nats.conf")
  wait_port "$port" "$d/pid" "$d/server.log" 30
}

url() { echo "nats://127.0.0.1:$(cat "$d/port")"; }

serve WALTRIGGER_TEST_NATS "$@"
