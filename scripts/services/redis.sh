#!/usr/bin/env bash
# Redis on loopback.
#
#   redis.sh install|start|stop|kill|wipe|env|url|status
#
#   REDIS_INSTANCE  a name for a server of its own beside the tests'   (default none)
#   REDIS_PORT      its port                  (default 24379, or the next free one)
#   REDIS_TLS       1: it speaks TLS only, with files/cert.pem, files/key.pem, files/ca.pem
#   REDIS_ARGS      more server options, e.g. "--requirepass x"
#   SERVICE_FILES   a folder whose files the server finds below files/
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/debian.sh"
check_system
dir=$(services_dir)
name=redis${REDIS_INSTANCE:+-$REDIS_INSTANCE}
d=$dir/$name
root=$dir/debian-redis-$suite

install() { debroot "$root" redis-tools; } # the server is a second name of one of its programs

start() {
  ! alive "$d/pid" || return 0
  local port args listen
  mkdir -p "$d/data"; chmod 755 "$d"
  port=$(pick_port "$d/port" "${REDIS_PORT:-}" 24379)
  give_files "$d"; own "$d"
  read -r -a args <<<"${REDIS_ARGS:-}"
  listen=(--port "$port")
  # Nodes speak to each other on a port of their own; that of the default is one that the
  # system may have given to a connection.
  case " ${args[*]} " in *" --cluster-enabled "*) listen+=(--cluster-port $((port + 1000))) ;; esac
  [ -z "${REDIS_TLS:-}" ] || listen=(--port 0 --tls-port "$port" --tls-cert-file ../files/cert.pem --tls-key-file ../files/key.pem
    --tls-ca-cert-file ../files/ca.pem)
  # What was accepted is there after a restart.
  (cd "$d" && spawn "$d/pid" "$d/server.log" "${unprivileged[@]}" "$root/$loader" --library-path "$root/usr/lib/$triplet:$root/usr/lib" \
    --argv0 redis-server "$(readlink -f "$root/usr/bin/redis-check-rdb")" --bind 127.0.0.1 "${listen[@]}" --dir ./data \
    --daemonize no --appendonly yes --appendfsync always --save '' "${args[@]}")
  wait_port "$port" "$d/pid" "$d/server.log" 30
}

url() { echo "redis${REDIS_TLS:+s}://127.0.0.1:$(cat "$d/port")/0"; }

serve WALTRIGGER_TEST_REDIS "$@"
