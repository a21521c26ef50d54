"""Compare pkg/template with Django on random templates: differential.py WALTRIGGER N SEED.

WALTRIGGER is the program, whose render --jsonl is asked. Exits with 1 if anything differs.
"""

import itertools
import json
import re
import subprocess
import sys
import time

import generate
import oracle

BATCH = 2000


def outcome(answer):
    if "output" in answer:
        return "output", answer["output"]
    return "class", answer["class"]


def brief(case):
    """Leave out of the context what the template does not name."""
    names = set(re.findall(r"\w+", case["template"]))
    return dict(case, context={k: v for k, v in case["context"].items() if k in names})


def main():
    verbose = len(sys.argv) > 4
    waltrigger, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    stream = itertools.islice(generate.cases(seed), count)
    done = different = budget = errors = 0
    spent = 0.0
    while batch := list(itertools.islice(stream, BATCH)):
        lines = "".join(json.dumps(c) + "\n" for c in batch).encode()
        out = subprocess.run([waltrigger, "render", "--jsonl"], input=lines, stdout=subprocess.PIPE, check=True).stdout
        answers = [json.loads(line) for line in out.decode().split("\n") if line]
        assert len(answers) == len(batch)
        for case, answer in zip(batch, answers):
            start = time.perf_counter()
            want = oracle.render(case)
            spent += time.perf_counter() - start
            errors += want[0] == "class"
            got = outcome(answer)
            if got == want:
                continue
            if got == ("class", "Budget"):
                budget += 1  # Django has no limits
                if verbose:
                    print("over budget:", json.dumps(brief(case))[:400], answer["error"])
                continue
            different += 1
            if different <= 20:
                print(json.dumps(brief(case)), "\n  Django:", json.dumps(want)[:600], "\n  ours:  ", json.dumps(answer)[:600])
        done += len(batch)
        if done % 20000 == 0:
            print("%d compared, %d differ" % (done, different), file=sys.stderr)
    print("%s, seed %d: %d templates compared, %d of them errors in Django; %d over budget here; %d differ" % (
        oracle.VERSION, seed, done, errors, budget, different))
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
