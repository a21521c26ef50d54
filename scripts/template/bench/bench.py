"""Print one table: pkg/template beside pongo2 and Django, ns of CPU for one rendering.

bench.py OUTPUT, which is what `go test -bench` printed in this directory.
"""

import json
import pathlib
import re
import statistics
import sys
import time
import timeit

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import oracle  # noqa: E402


def go_results(text):
    found = {}
    for m in re.finditer(r"^Benchmark(\w+?)(?:/(\w+))?-\d+\s+\d+\s+[\d.]+ ns/op\s+([\d.]+) cpu-ns/op\s+\d+ B/op\s+(\d+) allocs/op", text, re.M):
        found.setdefault((m[1], m[2]), []).append((float(m[3]), int(m[4])))
    return {k: (statistics.median(n for n, _ in v), v[0][1]) for k, v in found.items()}


def main():
    suite = json.loads((pathlib.Path(__file__).parent / "suite.json").read_text())
    go = go_results(pathlib.Path(sys.argv[1]).read_text())
    print("%-8s %14s %8s %12s %8s %12s %8s" % ("", "waltrigger ns", "allocs", "pongo2 ns", "ratio", "Django ns", "ratio"))
    for name, source in suite["templates"].items():
        template = oracle.engine("").from_string(source)
        context = oracle.Context(suite["context"], autoescape=False)
        loops = 200 if name == "loop" else 5000
        django = min(timeit.repeat(lambda: template.render(context), number=loops, repeat=5, timer=time.process_time)) / loops * 1e9
        ours, allocs = go["Waltrigger", name]
        pongo = go["Pongo2", name][0]
        print("%-8s %14.0f %8d %12.0f %8.1f %12.0f %8.1f" % (name, ours, allocs, pongo, pongo / ours, django, django / ours))
    ns, allocs = go["Leaves", None]
    print("the seed's third payload leaf by leaf, JSON escaped: %.0f ns, %d allocations" % (ns, allocs))
    print("%s; medians of 5 (Django: the best of 5)" % oracle.VERSION)


if __name__ == "__main__":
    main()
