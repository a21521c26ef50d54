#!/usr/bin/env bash
# Ends with words if this machine's Go cannot build the module.
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go}
want=$(sed -n 's/^go //p' go.mod)
how="Install Go ${want%.*} or newer: from the Go project's download page, or as your distribution's package if it is new enough; then see that \`go version\` says so."
if ! command -v "$go" >/dev/null 2>&1; then
  echo "Go is missing: there is no program \"$go\" in PATH. $how" >&2
  exit 1
fi
# Inside the module an old Go fetches the wanted one by itself, unless GOTOOLCHAIN=local.
if ! have=$("$go" env GOVERSION 2>/dev/null) || [ -z "$have" ]; then
  echo "Go is too old: this is $(cd / && GOTOOLCHAIN=local "$go" env GOVERSION 2>/dev/null || echo 'of an unknown version'), and go$want is needed. $how" >&2
  exit 1
fi
have=${have#go}; have=${have%%[!0-9.]*}
if [ "$(printf '%s\n%s\n' "$want" "$have" | sort -V | head -n 1)" != "$want" ]; then
  echo "Go is too old: this is go$have, and go$want is needed. $how" >&2
  exit 1
fi
