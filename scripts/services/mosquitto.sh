#!/usr/bin/env bash
# Mosquitto (MQTT 5) on loopback.
#
#   mosquitto.sh install|start|stop|wipe|env|url|status
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

case ${1:-} in
  install) locked "$dir/.lock-install" install ;;
  start) locked "$dir/.lock-install" install; locked "$dir/.lock-$name" start ;;
  stop) stop_pid "$d/pid" ;;
  wipe) stop_pid "$d/pid"; rm -rf "$d" ;;
  env) alive "$d/pid" || die "$name is not running"; echo "export WALTRIGGER_TEST_MQTT='$(url)'" ;;
  url) alive "$d/pid" || die "$name is not running"; url ;;
  status) if alive "$d/pid"; then echo "$name: $(url)"; else echo "$name: stopped"; fi ;;
  *) sed -n '2,/^set /p' "$0" | sed -n 's/^# \{0,1\}//p' >&2; exit 2 ;;
esac
