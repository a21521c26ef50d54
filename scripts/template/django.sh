# Sourced: sets DJANGO_PYTHON to a Python with the Django that pkg/template is held to.
DJANGO_VERSION=5.2.19
work=${WORK:-$PWD/.work}
DJANGO_PYTHON=$work/django/bin/python
if ! "$DJANGO_PYTHON" -c "import django, sys; sys.exit(django.__version__ != '$DJANGO_VERSION')" 2>/dev/null; then
  echo "installing Django $DJANGO_VERSION into $work/django" >&2
  rm -rf "$work/django"
  mkdir -p "$work"
  python3 -m venv "$work/django"
  "$work/django/bin/pip" install -q --disable-pip-version-check "Django==$DJANGO_VERSION" "tzdata==2025.2"
fi
