#!/usr/bin/env bash
# Everything that has to hold, in one run; ends with one line "N passed, N failed".
#
#   scripts/test.sh          all steps
#   scripts/test.sh cover    only the Go tests, with coverage in .work/cover.html
#   scripts/test.sh soak [NAME...]   the Go tests in their long forms (WALTRIGGER_TEST_SOAK=1), with
#                            their figures; NAME: kill dead network store ha endurance park rest
#
# TEST_STEPS="lint go" runs some steps only: lint scripts go race golden django
# import helm image demo.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:-all}
# The flags of make build everywhere but under the race detector: packages are compiled
# once for the tests, the demo, the chart and the image.
export GOFLAGS="-buildvcs=false -trimpath -tags=grpcnotrace" CGO_ENABLED=0
go=${GO:-go}
work=$PWD/.work
mkdir -p "$work"
module=$(sed -n 's/^module //p' go.mod)
# Code in which goroutines meet; the race detector makes everything else slower for nothing.
race=(pipeline deliver trigger egress source/... sink/... resolve store daemon)
passed=0 failed=0 bad=() began=$SECONDS

# step NAME CMD...: one line of result; a failure does not hide those that follow.
step() {
  local name=$1 at=$SECONDS; shift
  if [ -n "${TEST_STEPS:-}" ] && [[ " $TEST_STEPS " != *" $name "* ]]; then return 0; fi
  echo "=== $name"
  if "$@"; then
    echo "--- PASS: $name ($((SECONDS - at))s)"; passed=$((passed + 1))
  else
    echo "--- FAIL: $name ($((SECONDS - at))s)"; failed=$((failed + 1)); bad+=("$name")
  fi
}

scripts_parse() { local f; for f in scripts/*.sh scripts/*/*.sh .ci/run; do bash -n "$f" || return 1; done; }

# Services: those that this run starts, it stops.
stop_services=
services_up() {
  local status
  status=$(scripts/services.sh status) || return 1
  case $status in *stopped*) stop_services=1 ;; esac
  scripts/services.sh start && eval "$(scripts/services.sh env)" && export WALTRIGGER_TEST_REQUIRED=1
}
trap '[ -z "$stop_services" ] || scripts/services.sh stop' EXIT

race_packages() { local p; for p in "${race[@]}"; do [ ! -d "pkg/${p%/...}" ] || echo "./pkg/$p"; done; }

# go_test FLAGS... PACKAGES...: summed up by scripts/testsum, which fails on a skip.
go_test() {
  local totals=$work/totals p f status=0
  rm -f "$totals"
  "$go" test -json -count=1 -timeout "${timeout:-20m}" "$@" | "$work/testsum" ${figures:-} -totals "$totals" || status=1
  if [ -e "$totals" ]; then
    read -r p f <"$totals"
    passed=$((passed + p)); failed=$((failed + f))
  fi
  return "$status"
}
plain_tests() {
  local r; r=$("$go" list -f '{{.ImportPath}}' $(race_packages))
  # shellcheck disable=SC2046  # a list of packages
  go_test $("$go" list ./... | grep -vxF "$r")
}
race_tests() {
  command -v "${CC:-gcc}" >/dev/null 2>&1 || { echo "the race detector needs a C compiler: install gcc" >&2; return 1; }
  # shellcheck disable=SC2046
  CGO_ENABLED=1 go_test -race $(race_packages)
}
# What long tests are about: some of cmd/waltrigger, whose figures are printed.
declare -A soaks=(
  [kill]='Kill|CleanRestart|RestartWithin' [dead]='TestDeadDestination' [network]='TestNetwork|DatabaseRestarts'
  [store]='DiskFull|StoreUnreachable|(Torn|Lost|Broken)Store|DamagedDelivery' [ha]='TakeOver|CutOffFromTheStore'
  [endurance]='TestEndurance' [park]='TestParkingKeepsUp'
)
soak() {
  local all; all=$(IFS='|'; echo "${soaks[*]}")
  if [ "$1" = rest ]; then go_test -skip "$all" ./...; return; fi
  [ -n "${soaks[$1]:-}" ] || { echo "there is no $1 among: ${!soaks[*]} rest" >&2; return 1; }
  figures=-figures go_test -run "${soaks[$1]}" ./cmd/waltrigger || return 1
  if [ "$1" = park ]; then "$go" test -run - -bench BenchmarkPark ./pkg/store; fi
}
finish() {
  echo
  if [ "$failed" = 0 ]; then echo "ok  	$module	$((SECONDS - began))s"
  else echo "FAIL	$module	$((SECONDS - began))s	${bad[*]}"; fi
  echo "$passed passed, $failed failed"
  [ "$failed" = 0 ]
}

"$go" build -o "$work/testsum" ./scripts/testsum
case $mode in
  all)
    step lint scripts/lint.sh
    step scripts scripts_parse
    step services services_up
    step go plain_tests
    step race race_tests
    [ ! -x scripts/golden.sh ] || step golden scripts/golden.sh check
    step django scripts/django.sh postgres mysql mariadb
    step import scripts/django-import.sh
    step helm scripts/helm.sh
    step image scripts/image.sh check
    step demo env DEMO_ONCE=1 scripts/demo.sh
    ;;
  cover)
    services_up
    step go go_test -coverpkg=./pkg/...,./config/...,./cmd/... -coverprofile="$work/cover.out" ./...
    "$go" tool cover -html="$work/cover.out" -o "$work/cover.html"
    "$go" tool cover -func="$work/cover.out" | tail -n 1
    ;;
  soak)
    shift
    services_up
    export WALTRIGGER_TEST_SOAK=1 timeout=3h
    for name in "${@:-kill dead network store ha endurance park rest}"; do
      for one in $name; do step "$one" soak "$one"; done
    done
    ;;
  *) sed -n '2,/^# import/p' "$0" | sed -n 's/^# \{0,1\}//p' >&2; exit 2 ;;
esac
finish
