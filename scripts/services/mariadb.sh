#!/usr/bin/env bash
# MariaDB on loopback, user root, password root. Its settings are the server's own, but
# for a binary log in row format, which it does not keep by itself, and those that make it
# lighter.
#
#   mariadb.sh install|start|stop|kill|wipe|env|url|status
#
#   MARIADB_VERSION   10.11 or 11.8: those that Debian has              (default 11.8)
#   MARIADB_INSTANCE  a name for a server of its own beside the tests'  (default none)
#   MARIADB_PORT      its port               (default 24310 or 24318, or the next free one)
#   MARIADB_ARGS      more server options, e.g. "--binlog-row-metadata=FULL"
#   MARIADB_SERVER_ID its number among those that replicate from each other (default 1)
set -euo pipefail
version=${MARIADB_VERSION:-11.8}
case $version in
  10.11) DEBIAN_SUITE=bookworm port=24310 ;;
  11.8) DEBIAN_SUITE=trixie port=24318 ;;
  *) echo "services: MariaDB $version is neither 10.11 nor 11.8" >&2; exit 1 ;;
esac
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/debian.sh"
check_system
dir=$(services_dir)
name=mariadb-$version${MARIADB_INSTANCE:+-$MARIADB_INSTANCE}
d=$dir/$name
root=$dir/debian-mariadb-$suite

install() { debroot "$root" mariadb-server-core; }

share() { # where its files are: 11 moved them
  local f
  for f in mariadb mysql; do [ ! -e "$root/usr/share/$f/charsets" ] || { echo "$root/usr/share/$f"; return; }; done
}

make_data() {
  local s f=mysql
  s=$(share)
  [ -e "$s/mysql_system_tables.sql" ] || f=mariadb # and gave them other names
  rm -rf "$d/data"; mkdir -m 700 "$d/data"; mkdir "$d/data/mysql"
  # In both files one statement a line.
  cat >"$d/init.sql" <<'SQL'
DELETE FROM mysql.global_priv WHERE User = '' OR Host <> 'localhost';
FLUSH PRIVILEGES;
ALTER USER root@localhost IDENTIFIED BY 'root';
CREATE OR REPLACE USER root@'127.0.0.1' IDENTIFIED BY 'root';
GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;
SQL
  own "$d"
  { printf '%s\n' "CREATE DATABASE IF NOT EXISTS mysql;" "USE mysql;" "SET @auth_root_socket=NULL;"
    cat "$s/${f}_system_tables.sql" "$s/${f}_performance_tables.sql" "$s/${f}_system_tables_data.sql" \
      "$s/maria_add_gis_sp_bootstrap.sql" "$s/${f}_sys_schema.sql"
  } | "${run[@]}" --bootstrap --silent-startup --log-warnings=0 --enforce-storage-engine= >"$d/bootstrap.log" 2>&1 ||
    { tail -n 20 "$d/bootstrap.log" >&2; die "making $name failed"; }
}

start() {
  ! alive "$d/pid" || return 0
  local fresh=() args
  run=("${unprivileged[@]}" "$root/$loader" --library-path "$root/usr/lib/$triplet" "$root/usr/sbin/mariadbd" --no-defaults
    --basedir="$root/usr" --lc-messages-dir="$(share)" --character-sets-dir="$(share)/charsets"
    --plugin-dir="$root/usr/lib/mysql/plugin" --datadir="$d/data" --tmpdir="$d/tmp")
  mkdir -p "$d/tmp"; chmod 755 "$d"
  port=$(pick_port "$d/port" "${MARIADB_PORT:-}" "$port")
  read -r -a args <<<"${MARIADB_ARGS:-}"
  if [ ! -e "$d/.ready" ]; then
    make_data
    touch "$d/.ready"; fresh=(--init-file="$d/init.sql")
  fi
  own "$d"
  # No Unix socket: its path may not be longer than 107 bytes. Nothing is flushed: the
  # tests kill servers and clients, not the machine.
  (cd "$d" && spawn "$d/pid" "$d/server.log" "${run[@]}" --port="$port" --bind-address=127.0.0.1 --socket= \
    --log-bin=binlog --binlog-format=ROW --server-id="${MARIADB_SERVER_ID:-1}" --innodb-flush-log-at-trx-commit=2 --sync-binlog=0 \
    --innodb-buffer-pool-size=128M --max-connections=200 "${fresh[@]}" "${args[@]}")
  wait_port "$port" "$d/pid" "$d/server.log" 90
}

url() { echo "mariadb://root:root@127.0.0.1:$(cat "$d/port")/mysql"; }

case ${1:-} in
  wipe) halt KILL; rm -rf "$d" ;;
  *) serve WALTRIGGER_TEST_MARIADB "$@" ;;
esac
