#!/usr/bin/env bash
# MySQL on loopback, user root, password root. Its settings are the server's own, but for
# those that make it lighter.
#
#   mysql.sh install|start|stop|kill|wipe|env|url|status
#
#   MYSQL_INSTANCE  a name for a server of its own beside the tests'     (default none)
#   MYSQL_PORT      its port                 (default 24306, or the next free one)
#   MYSQL_ARGS      more server options, e.g. "--binlog-row-metadata=FULL"
#   MYSQL_SERVER_ID its number among those that replicate from each other (default 1)
#
# Debian has it in unstable only.
set -euo pipefail
DEBIAN_SUITE=${MYSQL_SUITE:-sid}
DEBIAN_VALID_UNTIL=false
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/debian.sh"
check_system
dir=$(services_dir)
name=mysql${MYSQL_INSTANCE:+-$MYSQL_INSTANCE}
d=$dir/$name
root=$dir/debian-mysql-$suite

install() { debroot "$root" mysql-server-core; }

# Words that run it, in $d.
run=("${unprivileged[@]}" "$root/$loader" --library-path "$root/usr/lib/$triplet" "$root/usr/sbin/mysqld" --no-defaults
  --basedir="$root/usr" --lc-messages-dir="$root/usr/share/mysql" --character-sets-dir="$root/usr/share/mysql/charsets"
  --plugin-dir="$root/usr/lib/mysql/plugin" --secure-file-priv=NULL --datadir="$d/data" --tmpdir="$d/tmp")

start() {
  ! alive "$d/pid" || return 0
  local port fresh=() args
  mkdir -p "$d/tmp"; chmod 755 "$d"
  port=$(pick_port "$d/port" "${MYSQL_PORT:-}" 24306)
  read -r -a args <<<"${MYSQL_ARGS:-}"
  if [ ! -e "$d/.ready" ]; then
    rm -rf "$d/data"; mkdir -m 700 "$d/data"
    cat >"$d/init.sql" <<'SQL'
ALTER USER root@localhost IDENTIFIED BY 'root';
CREATE USER root@'127.0.0.1' IDENTIFIED BY 'root';
GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;
SQL
    own "$d"
    "${run[@]}" --initialize-insecure >"$d/initialize.log" 2>&1 || { tail -n 20 "$d/initialize.log" >&2; die "making $name failed"; }
    touch "$d/.ready"; fresh=(--init-file="$d/init.sql")
  fi
  own "$d"
  # No Unix socket: its path may not be longer than 107 bytes. Nothing is flushed: the
  # tests kill servers and clients, not the machine.
  (cd "$d" && spawn "$d/pid" "$d/server.log" "${run[@]}" --port="$port" --bind-address=127.0.0.1 --socket= --mysqlx=OFF \
    --server-id="${MYSQL_SERVER_ID:-1}" --innodb-flush-log-at-trx-commit=2 --sync-binlog=0 \
    --innodb-buffer-pool-size=128M --max-connections=200 "${fresh[@]}" "${args[@]}")
  wait_port "$port" "$d/pid" "$d/server.log" 90
}

url() { echo "mysql://root:root@127.0.0.1:$(cat "$d/port")/mysql"; }

case ${1:-} in
  wipe) halt KILL; rm -rf "$d" ;;
  *) serve WALTRIGGER_TEST_MYSQL "$@" ;;
esac
