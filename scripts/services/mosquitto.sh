#!/usr/bin/env bash
# Mosquitto (MQTT 5) on loopback.
#
#   mosquitto.sh install|start|stop|kill|wipe|env|url|status
#
#   MQTT_INSTANCE   a name for a server of its own beside the tests'   (default none)
#   MQTT_PORT       its port                  (default 24883, or the next free one)
#   MQTT_CONF       more lines of its configuration, for the one listener
#                                                    (default: anybody may do all)
#   SERVICE_FILES   a folder whose files the server finds below files/
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/debian.sh"
check_system
dir=$(services_dir)
name=mosquitto${MQTT_INSTANCE:+-$MQTT_INSTANCE}
d=$dir/$name
root=$dir/debian-mosquitto-$suite

install() { debroot "$root" mosquitto; }

start() {
  ! alive "$d/pid" || return 0
  local port
  mkdir -p "$d/data"; chmod 755 "$d"
  port=$(pick_port "$d/port" "${MQTT_PORT:-}" 24883)
  give_files "$d"
  # Sessions of subscribers outlive a restart. Run as root it would change its user.
  printf '%s\n' "persistence true" "persistence_location $d/data/" \
    "log_dest stderr" "max_queued_messages 1000000" "set_tcp_nodelay true" "user $(id -un)" "listener $port 127.0.0.1" \
    "${MQTT_CONF:-allow_anonymous true}" >"$d/mosquitto.conf"
  own "$d"
  (cd "$d" && spawn "$d/pid" "$d/server.log" "${unprivileged[@]}" "$root/$loader" --library-path "$root/usr/lib/$triplet:$root/usr/lib" \
    "$root/usr/sbin/mosquitto" -c "$d/mosquitto.conf")
  wait_port "$port" "$d/pid" "$d/server.log" 30
}

url() { echo "mqtt://127.0.0.1:$(cat "$d/port")"; }

serve WALTRIGGER_TEST_MQTT "$@"
