#!/usr/bin/env bash
# golangci-lint, installed once into .work/bin.   lint.sh [fmt]
set -euo pipefail
cd "$(dirname "$0")/.."
version=${GOLANGCI_LINT_VERSION:-v2.15.0}
bin=${TOOLS:-$PWD/.work/bin}
lint=$bin/golangci-lint-$version
if [ ! -x "$lint" ]; then
  echo "installing golangci-lint $version into $bin" >&2
  mkdir -p "$bin/new"
  GOBIN=$bin/new GOFLAGS=-buildvcs=false "${GO:-go}" install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$version"
  mv "$bin/new/golangci-lint" "$lint"; rmdir "$bin/new"
fi
export GOLANGCI_LINT_CACHE=$PWD/.work/lint-cache
if [ "${1:-}" = fmt ]; then exec "$lint" fmt ./...; fi
exec "$lint" run --timeout 10m ./...
