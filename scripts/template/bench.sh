#!/usr/bin/env bash
# Benchmarks of pkg/template beside pongo2 and Django, in one run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source scripts/template/django.sh
cd scripts/template/bench
"${GO:-go}" test -run TestSame -bench . -benchtime "${BENCHTIME:-300ms}" -count 5 . | tee "$work/template-bench.txt" | grep -v ns/op
"$DJANGO_PYTHON" bench.py "$work/template-bench.txt"
