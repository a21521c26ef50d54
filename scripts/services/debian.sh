# Servers out of Debian packages; sourced after lib.sh, not run.
#
# Packages and what they depend on are unpacked into a folder of their own by apt with a
# configuration and an empty dpkg status of its own. Neither the machine's packages nor
# its lists or libraries are touched, and no script of a package runs. Programs are
# started by the tree's own loader, with the tree's own libc.
#
#   DEBIAN_SUITE   the suite                    (default trixie)
#   DEBIAN_MIRROR  the archive's address        (default: that of this machine's apt)
#   DEBIAN_VALID_UNTIL  false: a mirror that is late will do

suite=${DEBIAN_SUITE:-trixie}
case $(uname -m) in
  x86_64) triplet=x86_64-linux-gnu loader=usr/lib64/ld-linux-x86-64.so.2 ;;
  aarch64) triplet=aarch64-linux-gnu loader=usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1 ;;
  *) triplet='' loader='' ;;
esac

debian_mirror() {
  [ -z "${DEBIAN_MIRROR:-}" ] || { echo "$DEBIAN_MIRROR"; return; }
  local m
  m=$({ sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/*.sources
    sed -n 's/^deb  *\(\[[^]]*\] *\)\{0,1\}\(http[^ ]*\).*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/*.list; } 2>/dev/null |
    grep -v security | head -n 1) || true
  [ -n "$m" ] || die "this machine's apt names no Debian archive; set DEBIAN_MIRROR"
  echo "$m"
}

# debroot DIR PACKAGE...: once, marked by DIR/.done.
debroot() {
  local dir=$1 a=$1/.apt mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg f
  shift
  [ ! -e "$dir/.done" ] || return 0
  [ -n "$triplet" ] || die "there are no packages for $(uname -m) here; set the test's variable to a server of your own"
  need apt-get apt "unpack Debian packages"
  need dpkg-deb dpkg "unpack Debian packages"
  [ -e "$keyring" ] || die "$keyring is missing: install debian-archive-keyring"
  mirror=$(debian_mirror)
  say "services: unpacking $1 and what it needs (Debian $suite) into $dir"
  rm -rf "$dir"; mkdir -p "$a"/{etc,lists/partial,cache/archives/partial}; : >"$a/status"
  chmod 755 "$dir"
  echo "deb [signed-by=$keyring] $mirror $suite main" >"$a/etc/sources.list"
  cat >"$a/apt.conf" <<CONF
Dir::Etc "$a/etc"; Dir::Etc::sourcelist "$a/etc/sources.list"; Dir::Etc::sourceparts "/dev/null";
Dir::Etc::parts "/dev/null"; Dir::Etc::preferencesparts "/dev/null";
Dir::State "$a"; Dir::State::lists "$a/lists"; Dir::State::status "$a/status"; Dir::Cache "$a/cache";
APT::Install-Recommends "false"; APT::Sandbox::User "$(id -un)"; Acquire::Languages "none"; Acquire::Retries "3";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false"; Debug::NoLocking "true";
Acquire::Check-Valid-Until "${DEBIAN_VALID_UNTIL:-true}";
CONF
  { APT_CONFIG=$a/apt.conf apt-get -qq update &&
    APT_CONFIG=$a/apt.conf apt-get -qq -y --download-only install base-files "$@"; } >"$dir/apt.log" 2>&1 ||
    { tail -n 15 "$dir/apt.log" >&2; die "apt could not fetch $*"; }
  for f in bin sbin lib lib64; do mkdir -p "$dir/usr/$f"; ln -sfn "usr/$f" "$dir/$f"; done # merged /usr
  for f in "$a"/cache/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$f" | tar -x -C "$dir" --keep-directory-symlink --no-same-owner
  done
  /sbin/ldconfig -n "$dir/usr/lib/$triplet" # links that a package leaves to its script
  rm -rf "$a"
  touch "$dir/.done"
}

# tree_run DIR PROGRAM ARGS...: a program of an unpacked tree.
tree_run() {
  local r=$1 p=$2; shift 2
  "$r/$loader" --library-path "$r/usr/lib/$triplet:$r/usr/lib" "$r$p" "$@"
}

# Words that start a server as the unprivileged user, for spawn.
unprivileged=()
[ -z "$svc_user" ] || unprivileged=(setpriv --reuid="$svc_user" --regid="$(id -g "$svc_user")" --clear-groups env HOME=/)

# give_files DIR: copies what a test brings along (certificates, more settings) from
# SERVICE_FILES to DIR/files.
give_files() {
  mkdir -p "$1/files"
  [ -z "${SERVICE_FILES:-}" ] || cp "$SERVICE_FILES"/* "$1/files/"
}
