#!/usr/bin/env bash
# Checks the chart: Helm's lint in its strict form, rendering with several sets of
# values, the values' schema, a strict decoding of every object; and the rendered
# configuration files by the product itself. Helm is used as a Go library: no helm
# program is needed, and building one would take three times as long.
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go}
out=$PWD/.work/helm
rm -rf "$out"; mkdir -p "$out"
(cd scripts/helmcheck && HELMCHECK_OUT=$out "$go" test -count=1 ./...)
