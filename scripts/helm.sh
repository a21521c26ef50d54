#!/usr/bin/env bash
# Checks the chart: Helm's lint in its strict form, rendering with several sets of
# values, the values' schema, a strict decoding of every object; and the rendered
# configuration files by the product itself. Helm is used as a Go library: no helm
# program is needed, and building one would take three times as long.
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-go}
out=$PWD/.work/helm
rm -rf "$out"; mkdir -p "$out/triggers" "$out/secrets"
(cd scripts/helmcheck && HELMCHECK_OUT=$out "$go" test -count=1 ./...)

# What the chart mounts is looked for below .work/helm instead.
CGO_ENABLED=0 "$go" build -o "$out/waltrigger" ./cmd/waltrigger
for secret in source-url billing-url; do echo "postgres://waltrigger@127.0.0.1:1/shop" >"$out/secrets/$secret"; done
echo "not-a-real-token-but-long-enough" >"$out/secrets/admin-token"
echo "postgres://waltrigger@127.0.0.1:1/shop?schema=waltrigger" >"$out/secrets/store-url"
echo "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" >"$out/secrets/store-key"
for f in minimal full ephemeral; do
  sed -e "s#/run/secrets/waltrigger#$out/secrets#; s#/etc/waltrigger/triggers#$out/triggers#" "$out/$f.yaml" >"$out/$f.local.yaml"
  env -i SHOP_URL=postgres://waltrigger@127.0.0.1:1/shop "$out/waltrigger" config --effective -c "$out/$f.local.yaml" >/dev/null ||
    { echo "helm: waltrigger refuses the configuration that the chart makes of testdata/$f.yaml" >&2; exit 1; }
done
