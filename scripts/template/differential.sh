#!/usr/bin/env bash
# Compare pkg/template with Django on random templates: differential.sh [N] [SEED]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source scripts/template/django.sh
mkdir -p .work/bin
"${GO:-go}" build -o .work/bin/render ./scripts/template/render
exec "$DJANGO_PYTHON" scripts/template/differential.py .work/bin/render "${1:-100000}" "${2:-1}"
