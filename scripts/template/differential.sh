#!/usr/bin/env bash
# Compare pkg/template with Django on random templates: differential.sh [N] [SEED]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source scripts/template/django.sh
make -s build
exec "$DJANGO_PYTHON" scripts/template/differential.py bin/waltrigger "${1:-100000}" "${2:-1}"
