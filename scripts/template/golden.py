"""Record Django's outputs in testdata/template, or check what is recorded.

golden.py record|check DIRECTORY
"""

import json
import pathlib
import re
import sys

import cases
import oracle

# Python's HTML parser, which decides these, changes between versions of Python.
OF_PYTHON = {"filter_striptags", "filter_truncatechars_html", "filter_truncatewords_html", "filter_escape_chain", "tag_filter"}
PYTHON = "Python %d.%d" % sys.version_info[:2]


def lines(table):
    seen = set()
    for template, values, extra in table:
        if isinstance(values, dict):
            context = values
        else:
            words = set(re.findall(r"\w+", template))
            context = {k: v for k, v in cases.VALUES.items() if k in words and k != "miss"}
        for autoescape in (True, False):
            case = {"template": template, "context": context, "autoescape": autoescape, "datetimes": "django", "now": cases.NOW, **extra}
            key, value = oracle.render(case)
            line = json.dumps({**case, key: value}, ensure_ascii=False)
            if line not in seen:
                seen.add(line)
                yield line + "\n"


def main():
    mode, directory = sys.argv[1], pathlib.Path(sys.argv[2])
    version = directory / "VERSION"
    recorded = version.read_text().strip() if version.exists() else ""
    if mode == "record":
        directory.mkdir(parents=True, exist_ok=True)
        version.write_text("%s, %s\n" % (oracle.VERSION, PYTHON))
        for old in directory.glob("*.jsonl"):
            old.unlink()
    elif recorded.split(",")[0] != oracle.VERSION:
        sys.exit("recorded with %s, but this is %s" % (recorded, oracle.VERSION))
    other_python = mode == "check" and recorded.split(", ")[1] != PYTHON
    count = different = 0
    expected = set()
    for name, table in cases.tables():
        path = directory / (name + ".jsonl")
        expected.add(path)
        if other_python and name in OF_PYTHON:
            print("%s: not checked, it was recorded with %s" % (name, recorded))
            continue
        got = list(lines(table))
        count += len(got)
        if mode == "record":
            path.write_text("".join(got), encoding="utf-8")
            continue
        want = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        want = re.split(r"(?<=\n)", "".join(want))[:-1]
        for a, b in zip(want, got):
            if a != b:
                different += 1
                if different <= 10:
                    print("%s:\n  recorded %s  now      %s" % (path, a, b))
        different += abs(len(want) - len(got))
    for path in set(directory.glob("*.jsonl")) - expected:
        print("%s: of no table" % path)
        different += 1
    print("%s: %d cases, %d differ from %s" % (oracle.VERSION, count, different, directory))
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
