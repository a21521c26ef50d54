# Shared by the scripts of this folder: sourced, not run.
#
# Everything a service needs (programs, data, logs, pid files) lies under one folder:
#   WALTRIGGER_SERVICES_DIR   default: .work/services of the checkout
# A service that runs as root's own refuses to (PostgreSQL) or should not (Java): as
# root, servers run as the existing user WALTRIGGER_SERVICES_USER (default: nobody).

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

say() { printf '%s\n' "$*" >&2; }
die() { say "services: $*"; exit 1; }

# need PROGRAM PACKAGE WHY: ends with words if a program is missing.
need() {
  command -v "$1" >/dev/null 2>&1 ||
    die "$1 is missing; it is needed to $3. Install it (Debian, Ubuntu: apt-get install $2; Fedora: dnf install ${4:-$2})."
}

check_system() {
  [ "$(uname -s)" = Linux ] || die "the test services run on Linux only (this is $(uname -s)). \
Set WALTRIGGER_TEST_POSTGRES and WALTRIGGER_TEST_KAFKA to servers of your own instead, and run: go test ./..."
  need flock util-linux "start services one at a time"
  need setsid util-linux "detach servers"
  need cksum coreutils "name folders"
}

svc_user=
if [ "$(id -u)" = 0 ]; then svc_user=${WALTRIGGER_SERVICES_USER:-nobody}; fi

# as CMD...: as the unprivileged user if this is root, else as oneself.
as() {
  if [ -z "$svc_user" ]; then "$@"; return; fi
  setpriv --reuid="$svc_user" --regid="$(id -g "$svc_user")" --clear-groups env HOME=/ "$@"
}
# own PATH...: gives PATHs to the user the servers run as.
own() { [ -z "$svc_user" ] || chown -R "$svc_user:$(id -g "$svc_user")" "$@"; }

# services_dir prints the folder, made and reachable for the servers' user. A checkout
# below a folder closed to that user (/root) has it in /var/tmp instead.
services_dir() {
  local d=${WALTRIGGER_SERVICES_DIR:-}
  if [ -n "$svc_user" ]; then
    id "$svc_user" >/dev/null 2>&1 || die "there is no user $svc_user; name an existing unprivileged one in WALTRIGGER_SERVICES_USER"
    need setpriv util-linux "run servers as the user $svc_user"
  fi
  if [ -n "$d" ]; then
    mkdir -p "$d"
  else
    d=$repo/.work/services
    mkdir -p "$d"
    if [ -n "$svc_user" ] && ! as test -x "$d"; then
      d=/var/tmp/waltrigger-services-$(printf %s "$repo" | cksum | cut -d' ' -f1)
      mkdir -m 755 "$d" 2>/dev/null || [ -O "$d" ] || die "$d belongs to somebody else; set WALTRIGGER_SERVICES_DIR"
      [ ! -L "$d" ] || die "$d is a link; set WALTRIGGER_SERVICES_DIR"
    fi
  fi
  d=$(cd "$d" && pwd)
  if [ -n "$svc_user" ] && ! as test -x "$d"; then
    die "the user $svc_user cannot reach $d; set WALTRIGGER_SERVICES_DIR to a folder it can (below /var/tmp, say)"
  fi
  printf '%s\n' "$d"
}

# locked FILE CMD...: one at a time; servers started by CMD do not inherit the lock.
locked() {
  local f=$1; shift
  ( flock -w 600 9 || die "somebody holds $f for ten minutes"; "$@" ) 9>"$f"
}

# A pid file outlives its process and the pid may be another's by then, so the start
# time of the process is kept beside it: nothing but our own server is ever signalled.
born() { cut -d' ' -f22 "/proc/$1/stat" 2>/dev/null; }
alive() { # PIDFILE
  local p b
  [ -s "$1" ] && read -r p b <"$1" && [ -n "$b" ] && [ "$(born "$p")" = "$b" ]
}

# spawn PIDFILE LOG CMD...: in the background, in a session of its own.
spawn() {
  local pidf=$1 log=$2; shift 2
  setsid "$@" 9>&- </dev/null >>"$log" 2>&1 &
  echo "$! $(born $!)" >"$pidf"
}

# stop_pid PIDFILE [SIGNAL]: ends the server, by force after 30 s.
stop_pid() {
  local pidf=$1 sig=${2:-TERM} p i
  if ! alive "$pidf"; then rm -f "$pidf"; return 0; fi
  read -r p _ <"$pidf"
  kill -"$sig" "$p" 2>/dev/null || true
  for i in $(seq 300); do
    alive "$pidf" || { rm -f "$pidf"; return 0; }
    sleep 0.1
  done
  say "services: $(basename "$(dirname "$pidf")") did not end after $sig within 30 s; killing it"
  kill -KILL "$p" 2>/dev/null || true
  rm -f "$pidf"
}

# halt [SIGNAL] ends the server of the script that sources this, which may have a way of
# its own.
halt() { stop_pid "$d/pid" "$@"; }

# running prints the server's address.
running() { alive "$d/pid" || die "$name is not running"; url; }

# serve VARIABLE VERB does what every service does. Its script has functions install, start
# and url, its name in $name and its folder in $d. The tests find its address in VARIABLE.
serve() {
  local at
  case ${2:-} in
    install) locked "$dir/.lock-install" install ;;
    start) locked "$dir/.lock-install" install; locked "$dir/.lock-$name" start ;;
    stop) halt ;;
    kill) halt KILL ;;
    wipe) halt; rm -rf "$d" ;;
    env) at=$(running); echo "export $1='$at'" ;;
    url) running ;;
    status) if alive "$d/pid"; then echo "$name: $(url)"; else echo "$name: stopped"; fi ;;
    *) sed -n '2,/^set /p' "$0" | sed -n 's/^# \{0,1\}//p' >&2; exit 2 ;;
  esac
}

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# wait_port PORT PIDFILE LOG SECONDS
wait_port() {
  local i
  for i in $(seq $(($4 * 10))); do
    if listening "$1"; then return 0; fi
    alive "$2" || { say "services: the server ended at its start; the end of $3:"; tail -n 20 "$3" >&2; return 1; }
    sleep 0.1
  done
  say "services: port $1 is not open after $4 s; the end of $3:"; tail -n 20 "$3" >&2; return 1
}

# free_port FROM: the first free one at or above, kept for a minute from others that start
# a server now.
free_port() {
  local p kept; kept=$(services_dir)/ports; mkdir -p "$kept"
  for p in $(seq "$1" $(($1 + 200))); do
    ! listening "$p" || continue
    find "$kept/$p" -mmin +1 -delete 2>/dev/null || true
    ! (set -C; : >"$kept/$p") 2>/dev/null || { echo "$p"; return 0; }
  done
  die "no free port between $1 and $(($1 + 200))"
}

# pick_port FILE WISH DEFAULT: a server keeps its port as long as nobody else has it.
# WISH (an override by the user) is taken as it is or refused.
pick_port() {
  local p
  if [ -n "$2" ]; then
    listening "$2" && die "port $2 is taken by another program"
    p=$2
  else
    p=$(cat "$1" 2>/dev/null || true)
    if [ -z "$p" ] || listening "$p"; then p=$(free_port "$3"); fi
  fi
  echo "$p" | tee "$1"
}

# mvn_get DIR GOAL ARGS...: Maven with its cache in our folder.
mvn_get() {
  local d=$1; shift
  need java default-jre-headless "$why" java-21-openjdk-headless
  need mvn maven "$why"
  mvn -B -q -Dmaven.repo.local="$d/maven" "$@" >"$d/maven.log" 2>&1 || {
    say "services: Maven could not fetch what is needed to $why; the end of $d/maven.log:"
    tail -n 15 "$d/maven.log" >&2
    die "is the network reachable? A mirror goes into Maven's settings.xml; HTTPS through a proxy into MAVEN_OPTS."
  }
}
