#!/usr/bin/env bash
# What real Django makes of the template cases: testdata/template holds its outputs.
#
#   scripts/golden.sh check     fail if Django's outputs are no longer those recorded
#   scripts/golden.sh record    record them anew
#
# Django comes from PyPI into .work/django (or $WORK/django).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/template/django.sh
case ${1:-check} in
check | record) exec "$DJANGO_PYTHON" scripts/template/golden.py "${1:-check}" testdata/template ;;
*) echo "usage: scripts/golden.sh check|record" >&2; exit 2 ;;
esac
