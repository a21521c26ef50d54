#!/usr/bin/env bash
# Moto, which answers as the services of AWS do, on loopback. Needs Python 3.10 with
# venv and pip. It keeps nothing over a restart.
#
#   moto.sh install|start|stop|kill|wipe|env|url|status
#
#   MOTO_INSTANCE  a name for a server of its own beside the tests'  (default none)
#   MOTO_PORT      its port   (default 24566, or the next free one)
# Moto's own variables are passed on: INITIAL_NO_AUTH_ACTION_COUNT=0 makes it verify
# credentials, MOTO_ENABLE_RECORDING=1 makes it record requests.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
check_system
dir=$(services_dir)
version=5.2.5
name=moto${MOTO_INSTANCE:+-$MOTO_INSTANCE}
d=$dir/$name
programs=$dir/moto-$version

install() {
  [ ! -e "$programs/.done" ] || return 0
  need python3 python3 "run Moto"
  say "services: fetching Moto $version (about 60 MB) into $programs"
  rm -rf "$programs"
  python3 -m venv "$programs" 2>"$dir/moto-install.log" ||
    { tail -n 5 "$dir/moto-install.log" >&2; die "python3 has no venv; install it (Debian, Ubuntu: apt-get install python3-venv)"; }
  "$programs/bin/pip" install --quiet --disable-pip-version-check "moto[server,sqs,sns]==$version" >"$dir/moto-install.log" 2>&1 ||
    { tail -n 15 "$dir/moto-install.log" >&2; die "pip could not fetch Moto; is the network reachable?"; }
  chmod -R a+rX "$programs"
  touch "$programs/.done"
}

start() {
  ! alive "$d/pid" || return 0
  local port run=()
  mkdir -p "$d"; chmod 755 "$d"
  port=$(pick_port "$d/port" "${MOTO_PORT:-}" 24566)
  own "$d"
  # A Python below /root cannot be reached by the servers' user.
  [ -z "$svc_user" ] || ! as "$programs/bin/python" -c '' 2>/dev/null || run=(setpriv --reuid="$svc_user" --regid="$(id -g "$svc_user")" --clear-groups env HOME=/)
  (cd "$d" && spawn "$d/pid" "$d/server.log" "${run[@]}" "$programs/bin/python" "$programs/bin/moto_server" -H 127.0.0.1 -p "$port")
  wait_port "$port" "$d/pid" "$d/server.log" 60
}

url() { echo "http://127.0.0.1:$(cat "$d/port")"; }

serve WALTRIGGER_TEST_AWS "$@"
