#!/usr/bin/env bash
# NATS with JetStream on loopback.
#
#   nats.sh install|start|stop|wipe|env|url|status
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

case ${1:-} in
  install) locked "$dir/.lock-install" install ;;
  start) locked "$dir/.lock-install" install; locked "$dir/.lock-$name" start ;;
  stop) stop_pid "$d/pid" ;;
  wipe) stop_pid "$d/pid"; rm -rf "$d" ;;
  env) alive "$d/pid" || die "$name is not running"; echo "export WALTRIGGER_TEST_NATS='$(url)'" ;;
  url) alive "$d/pid" || die "$name is not running"; url ;;
  status) if alive "$d/pid"; then echo "$name: $(url)"; else echo "$name: stopped"; fi ;;
  *) sed -n '2,/^set /p' "$0" | sed -n 's/^# \{0,1\}//p' >&2; exit 2 ;;
esac
