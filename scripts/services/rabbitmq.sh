#!/usr/bin/env bash
# RabbitMQ on loopback, user guest, password guest.
#
#   rabbitmq.sh install|start|stop|kill|wipe|env|url|status|ctl ARGS
#
#   RABBITMQ_INSTANCE  a name for a server of its own beside the tests'  (default none)
#   RABBITMQ_PORT      its port               (default 24672, or the next free one)
#   RABBITMQ_CONF      more lines of its configuration
#   RABBITMQ_TLS       1: it speaks TLS only, with files/cert.pem, files/key.pem, files/ca.pem
#   SERVICE_FILES      a folder whose files the server finds in /svc/files
#
# Erlang's scripts hold absolute paths, so this one server runs by chroot in a mount
# namespace of its own, which ends with it; the machine's mounts stay as they are. That
# needs root, or a kernel that lets users make namespaces: else the start is refused.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/debian.sh"
check_system
dir=$(services_dir)
name=rabbitmq${RABBITMQ_INSTANCE:+-$RABBITMQ_INSTANCE}
d=$dir/$name
root=$dir/debian-rabbitmq-$suite

install() {
  [ ! -e "$root/.ready" ] || return 0
  debroot "$root" rabbitmq-server dash bash coreutils sed grep findutils gawk util-linux hostname procps
  ln -sfn dash "$root/usr/bin/sh"; ln -sfn gawk "$root/usr/bin/awk"
  mkdir -p "$root"/{proc,dev,sys,tmp,svc,etc}; chmod 1777 "$root/tmp"
  printf '%s\n' "root:x:0:0::/svc:/bin/sh" "svc:x:$(id -u "${svc_user:-$(id -un)}"):$(id -g "${svc_user:-$(id -un)}")::/svc:/bin/sh" >"$root/etc/passwd"
  printf '%s\n' "root:x:0:" >"$root/etc/group"
  echo "127.0.0.1 localhost $(hostname)" >"$root/etc/hosts"
  touch "$root/.ready"
}

vars() {
  local port dist epmd
  port=$(cat "$d/port") dist=$(cat "$d/dist-port") epmd=$(cat "$d/epmd-port")
  cat <<E
HOME=/svc LANG=C.UTF-8 PATH=/usr/lib/rabbitmq/bin:/usr/sbin:/usr/bin:/sbin:/bin
RABBITMQ_NODENAME=waltrigger$port@localhost RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_DIST_PORT=$dist
ERL_EPMD_PORT=$epmd ERL_EPMD_ADDRESS=127.0.0.1 RABBITMQ_BASE=/svc RABBITMQ_MNESIA_BASE=/svc/data RABBITMQ_LOG_BASE=/svc RABBITMQ_LOGS=-
RABBITMQ_CONFIG_FILE=/svc/rabbitmq.conf RABBITMQ_ADVANCED_CONFIG_FILE=/svc/advanced.config RABBITMQ_ENABLED_PLUGINS_FILE=/svc/enabled_plugins
RABBITMQ_CONF_ENV_FILE=/svc/env.conf RABBITMQ_FEATURE_FLAGS_FILE=/svc/feature_flags RABBITMQ_PID_FILE=/svc/rabbitmq.pid
E
}

# Words that run a command in the tree, with $d as /svc.
chrooted() {
  local ns=(unshare --mount --propagation private) user=(chroot)
  if [ -n "$svc_user" ]; then user=(chroot "--userspec=$(id -u "$svc_user"):$(id -g "$svc_user")"); else ns+=(--map-root-user); fi
  printf '%s\0' "${ns[@]}" bash -c 'r=$1 d=$2; shift 2
    mount --bind "$d" "$r/svc"; mount --rbind /dev "$r/dev"; mount --rbind /proc "$r/proc"; exec "$@"' - \
    "$root" "$d" "${user[@]}" "$root" /usr/bin/env -i
  # shellcheck disable=SC2046  # words
  printf '%s\0' $(vars)
}

start() {
  ! alive "$d/pid" || return 0
  local port in i
  need unshare util-linux "run RabbitMQ in a mount namespace of its own"
  mkdir -p "$d/data"; chmod 755 "$d"
  port=$(pick_port "$d/port" "${RABBITMQ_PORT:-}" 24672)
  pick_port "$d/dist-port" "" $((port + 1000)) >/dev/null
  alive "$d/epmd.pid" || pick_port "$d/epmd-port" "" $((port + 2000)) >/dev/null
  mapfile -d '' in < <(chrooted)
  "${in[@]}" true >/dev/null 2>&1 ||
    die "RabbitMQ runs by chroot in a mount namespace of its own: be root, or let users make namespaces (kernel.unprivileged_userns_clone), or set WALTRIGGER_TEST_RABBITMQ to a server of your own"
  give_files "$d"
  {
    if [ -z "${RABBITMQ_TLS:-}" ]; then echo "listeners.tcp.1 = 127.0.0.1:$port"
    else
      printf '%s\n' "listeners.tcp = none" "listeners.ssl.1 = 127.0.0.1:$port" "ssl_options.cacertfile = /svc/files/ca.pem" \
        "ssl_options.certfile = /svc/files/cert.pem" "ssl_options.keyfile = /svc/files/key.pem"
    fi
    printf '%s\n' "vm_memory_high_watermark.absolute = 512MB" "disk_free_limit.absolute = 50MB" "log.console = true" "log.file = false" \
      "${RABBITMQ_CONF:-}"
  } >"$d/rabbitmq.conf"
  echo '[].' >"$d/enabled_plugins"; : >"$d/env.conf"
  own "$d"
  alive "$d/epmd.pid" || spawn "$d/epmd.pid" "$d/epmd.log" "${in[@]}" epmd -port "$(cat "$d/epmd-port")" -address 127.0.0.1
  : >"$d/server.log"
  spawn "$d/pid" "$d/server.log" "${in[@]}" rabbitmq-server
  for i in $(seq 600); do
    ! grep -q 'Server startup complete' "$d/server.log" || return 0
    alive "$d/pid" || { tail -n 20 "$d/server.log" >&2; die "$name ended at its start"; }
    sleep 0.1
  done
  tail -n 20 "$d/server.log" >&2; die "$name is not up after 60 s"
}

halt() { stop_pid "$d/pid" "$@"; stop_pid "$d/epmd.pid"; }

url() { echo "amqp${RABBITMQ_TLS:+s}://guest:guest@127.0.0.1:$(cat "$d/port")/"; }

case ${1:-} in
  ctl) shift; mapfile -d '' in < <(chrooted); "${in[@]}" rabbitmqctl "$@" ;;
  *) serve WALTRIGGER_TEST_RABBITMQ "$@" ;;
esac
