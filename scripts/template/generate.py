"""Random templates and contexts for the comparison with Django."""

import random
import struct
import unicodedata

# What the documentation of pkg/template lists as different is not generated: random
# output, tags that need a server, `is` between values without identity, names that
# Django's own {% with %} cannot take, printing the forloop mapping itself, and blocks
# filtered to a number (an error that Django reports after those of later tags).

WORDS = ["a", "b", "Hello", "world", "it's", "x<y", "A&B", "naïve", "Straße", "日本語", "e\u0301", "ß", "ǅ", "İ", "ΑΣ",
         "foo-bar", "_u", "1st", "2nd", "42", "-7", "3.14", "1e5", "0x1f", "True", "None", "nan", "inf", " ", "  ", "\t", "\n",
         "\r\n", "\u00a0", "\u2028", "'", '"', "\\", "%", "{", "}", "|", ":", ",", ";", "…", "🎉", "👩‍👧", "\x00", "\x07",
         "\x1c", "\x85", "ſ", "K", "ﬁ", "½", "²", "①", "٣", "i̇", "ŉ", "don't", "WHO'S", "a'B", "1ST", "x2Y"]
HTML = ["<b>", "</b>", "<i class='x'>", "</i>", "<br>", "<br/>", "<img src=x>", "<a href=\"http://a.com/?a=1&b=2\">", "</a>",
        "<p", "<p ", "<", ">", "< p>", "</", "</>", "</ b>", "<!--", "-->", "<!-- c -->", "<!doctype html>", "<![CDATA[x]]>",
        "<![if x]>", "<!x>", "<?php x ?>", "<?", "<script>", "</script>", "<style>", "x=\"", "a='b", "/>", "&amp;", "&lt;", "&lt", "&amp", "&#39;",
        "&#x41;", "&#x41", "&#", "&", "&a", "&notit;", "&nbsp", "&#0;", "&#128;", "&bogus;", "text", " and ", "more words here", "é", "\n", "=", "<a b=c d>", "<a/b>",
        "<\x00", "<a\x00>", "<td x = 'y' z>", "<h1>", "</h1>", "<em>", "</em>", "</h1 x>"]
URLS = ["http://", "https://", "HTTP://", "www.", "example", ".com", ".org", ".io", ".COM", "/", "path", "?q=", "&", "=", "#frag", "a@b.com", "user", "@", "mailto:",
        ":8080", ".", ",", ";", "!", ":", "(", ")", "[", "]", "[::1]", "&amp;", "&lt;", "&gt;", "%20", "%zz", "é", "日本", "xn--a", "-", "_", "~", "+", "<", ">",
        "\"", "'", " ", "\n", "ftp://", "http:", "//", "x", "127.0.0.1", "&#39;", "&amp", "localhost", ".net/", "a.b.org", "\u2100", "％"]
NUMBERS = ["0", "1", "-1", "1.0", "-0.0", "0.5", "1.5", "2.5", "0.05", "0.045", "1.005", "34.23234", "99.995", "-99.995", "1e10", "1e-10", "1E+5", "1e200",
           "1e-250", "nan", "inf", "-inf", "NaN", "Infinity", " 7 ", "1_000", "1__0", "_1", "0x10", "٣", "1.", ".5", "+3", "--3", "", "abc", "1e", "1,000",
           "123456789012345678901234567890", "0.1234567890123456789", "1" * 201, "0." + "0" * 210 + "1"]
NAMES = ["s", "i", "f", "d", "l", "m", "dt", "nd", "da", "t", "td", "b", "n", "e", "safe", "h", "u", "w", "rows", "nest", "miss", "big", "num", "k"]


def text(r, pool, n):
    return "".join(r.choice(pool) for _ in range(r.randint(0, n)))


def string(r):
    c = r.random()
    if c < 0.4:
        return (" " if r.random() < 0.6 else "").join(r.choice(WORDS) for _ in range(r.randint(0, 6)))
    if c < 0.6:
        return text(r, HTML, 8)
    if c < 0.75:
        return text(r, URLS, 9)
    if c < 0.9:
        return r.choice(NUMBERS)
    return characters(r, r.randint(0, 12))


def number(r):
    c = r.random()
    if c < 0.3:
        return r.randint(-3, 12)
    if c < 0.4:
        return r.choice([2**31, -2**63, 2**63, 10**25, -10**19, 1024, 1023, 1048576, 2**50, 999999])
    if c < 0.6:
        return {"$float": repr(r.choice([0.0, -0.0, 0.1, 1.5, 2.5, -2.675, 1e16, 1.5e-7, 1e22, 123456.789, 1e300, float("inf"), float("nan"), r.uniform(-1000, 1000), r.gauss(0, 1) * 10**r.randint(-12, 20)]))}
    if c < 0.8:
        return {"$decimal": r.choice(["0", "1", "1.50", "-2.675", "0.00", "1E+5", "1E-7", "0E-8", "123456789.123456789123456789", "NaN", "Infinity", "-0", "100", "1E+300", "9" * 30, str(r.randint(-10**6, 10**6)) + "." + str(r.randint(0, 9999))])}
    return r.choice([True, False])


def temporal(r):
    y, mo, d = r.choice([1, 1582, 1900, 1969, 1970, 1999, 2000, 2023, 2024, 2026, 9999]), r.randint(1, 12), r.randint(1, 28)
    if r.random() < 0.2:
        mo, d = r.choice([(2, 28), (12, 31), (1, 1), (3, 31), (11, 30)])
    h, mi, s = r.choice([(0, 0, 0), (12, 0, 0), (r.randint(0, 23), r.randint(0, 59), r.randint(0, 59)), (23, 59, 59), (r.randint(0, 23), 0, 0)])
    clock = "%02d:%02d:%02d" % (h, mi, s) + r.choice(["", "", ".5", ".000001", ".123456"]).ljust(0)
    frac = clock.partition(".")[2]
    if frac:
        clock = clock.partition(".")[0] + "." + frac.ljust(6, "0")
    date = "%04d-%02d-%02d" % (y, mo, d)
    c = r.random()
    if c < 0.35:
        if y in (1, 9999):
            date = "2024" + date[4:]
        return {"$datetime": date + "T" + clock + r.choice(["+00:00", "+02:00", "-05:30", "+14:00", "-11:00"])}
    if c < 0.55:
        return {"$datetime": date + "T" + clock}
    if c < 0.75:
        return {"$date": date}
    if c < 0.85:
        return {"$time": clock}
    return {"$duration": r.choice([0, 1, -1, 59, 3600, 86400, 90061.5, -90061.25, 1e6, 604800, 0.000001, 31536000])}


def scalar(r):
    c = r.random()
    if c < 0.45:
        return string(r)
    if c < 0.55:
        return {"$safe": string(r)}
    if c < 0.8:
        return number(r)
    if c < 0.93:
        return temporal(r)
    return None


def value(r, depth=0):
    c = r.random()
    if depth > 2 or c < 0.6:
        return scalar(r)
    if c < 0.85:
        return [value(r, depth + 1) for _ in range(r.randint(0, 5))]
    return {k: value(r, depth + 1) for k in r.sample(["a", "b", "c", "0", "key", "items", "x y", "é"], r.randint(0, 4))}


def context(r):
    rows = [{"name": r.choice(["x", "y", "z", "Ada", ""]), "n": r.choice([1, 2, 3, 3, 2.5]), "sub": {"k": r.randint(0, 3)}} for _ in range(r.randint(0, 6))]
    if r.random() < 0.1 and rows:
        del rows[0]["n"]
    nest = ["A", ["B", ["C", "D"], "E"], "F", ["G"], []]
    return {
        "s": string(r), "i": r.randint(-5, 40), "f": number(r), "d": {"$decimal": r.choice(["1.50", "0", "-12.345", "1000000.005"])},
        "l": [value(r, 1) for _ in range(r.randint(0, 6))], "m": {k: value(r, 1) for k in r.sample(["a", "b", "c", "1", "name"], r.randint(0, 5))},
        "dt": temporal(r), "nd": {"$datetime": "2024-03-09T21:05:06"}, "da": {"$date": "2023-12-31"}, "t": {"$time": "13:05:06.000007"},
        "td": {"$duration": r.choice([0, 3600, 90061.5])}, "b": r.choice([True, False]), "n": None, "e": "", "safe": {"$safe": text(r, HTML, 4)},
        "h": text(r, HTML, 12), "u": text(r, URLS, 12), "w": " ".join(r.choice(WORDS) for _ in range(r.randint(0, 12))),
        "rows": rows, "nest": r.choice([nest, nest[1:], r.choice(nest)]), "big": 10**r.randint(15, 40), "num": r.choice(NUMBERS), "k": value(r),
    }


def quoted(r, s):
    s = s.replace("\n", " ").replace("%}", "").replace("}}", "").replace("{{", "").replace("{%", "").replace("{#", "").replace("#}", "")
    q = r.choice("\"'")
    return q + s.replace("\\", "\\\\").replace(q, "\\" + q) + q


DATEFMT = "aAbcdDeEfFgGhHiIjlLmMnNoOPrsStTuUwWyYzZ"


def date_format(r):
    if r.random() < 0.15:
        return quoted(r, r.choice(["DATE_FORMAT", "TIME_FORMAT", "DATETIME_FORMAT", "SHORT_DATE_FORMAT", "SHORT_DATETIME_FORMAT", "YEAR_MONTH_FORMAT", "MONTH_DAY_FORMAT", ""]))
    return quoted(r, "".join(r.choice([r.choice(DATEFMT), r.choice(DATEFMT), " ", "-", "\\", "/", "x", "é", ":"]) for _ in range(r.randint(1, 6))))


def percent_format(r):
    return quoted(r, r.choice(["", "", "", "-", "+", " ", "#", "0", "05", "-5", "+08", "# ", "%", "(a)", "*"]) + r.choice(["", "", "3", "12"]) + r.choice(["", ".0", ".2", ".", ".10"]) +
                  r.choice(list("diuoxXeEfFgGcrsa%") + ["ld", "q", "", "s%s", "s x", "é"]))


def small(r):
    return r.choice(["0", "1", "2", "3", "5", "10", "20", "-1", "-5", '"4"', '"-2"', '"x"', '""', "1.5", "i", "f", "s", "n", "b", '" 6 "', "l", "miss"])


def any_arg(r):
    return r.choice([lambda: quoted(r, string(r)), lambda: quoted(r, r.choice(WORDS)), lambda: small(r), lambda: path(r), lambda: '_("hi")'])()


FILTERS = {
    "addslashes": None, "capfirst": None, "escape": None, "escapejs": None, "escapeseq": None, "filesizeformat": None, "first": None, "force_escape": None,
    "iriencode": None, "last": None, "length": None, "linebreaks": None, "linebreaksbr": None, "linenumbers": None, "lower": None, "make_list": None,
    "phone2numeric": None, "pprint": None, "safe": None, "safeseq": None, "slugify": None, "striptags": None, "title": None, "unordered_list": None,
    "upper": None, "urlize": None, "wordcount": None,
    "add": any_arg, "center": small, "cut": any_arg, "default": any_arg, "default_if_none": any_arg, "divisibleby": small, "get_digit": small, "join": any_arg,
    "ljust": small, "rjust": small, "truncatechars": small, "truncatechars_html": small, "truncatewords": small, "truncatewords_html": small,
    "urlizetrunc": small, "wordwrap": small, "stringformat": percent_format,
    "dictsort": lambda r: r.choice(['"name"', '"n"', '"sub.k"', "0", '"0"', '"x"', "1", '"_x"', '""', "n", "i", '"sub"']),
    "dictsortreversed": lambda r: r.choice(['"name"', '"n"', '"sub.k"', "0", "1"]),
    "slice": lambda r: quoted(r, r.choice(["", ":", ":2", "1:", "-2:", "::2", "::-1", "1:3", "5:1:-1", "x", "0", "-1", "::0", "1:2:3:4", ":-1", "1.5", " 1 : 2 "])),
    "floatformat?": lambda r: r.choice(["0", "1", "2", "3", "-1", "-2", "-3", '"2g"', '"g"', '"-2g"', '"u"', '"2u"', '"2gu"', '"ug"', '"x"', '""', "i", "n", "1.7", "30"]),
    "json_script?": any_arg, "urlencode?": lambda r: r.choice(['""', '"/"', '"@é"', '":/?"', "s", "n"]),
    "pluralize?": lambda r: r.choice(['"es"', '"y,ies"', '"a,b,c"', '""', '","', "s"]),
    "yesno?": lambda r: r.choice(['"a,b"', '"a,b,c"', '"a"', '"a,b,c,d"', '""', "s", "n"]),
    "date?": date_format, "time?": date_format,
    "timesince?": lambda r: r.choice(["dt", "nd", "da", "n", "e", "s"]), "timeuntil?": lambda r: r.choice(["dt", "nd", "da", "n"]),
}
NAMES_OF_FILTERS = list(FILTERS)
ATTRS = ["a", "b", "0", "1", "2", "name", "n", "sub", "k", "items", "keys", "values", "x", "upper", "lower", "title", "strip", "split", "year", "month", "hour",
         "date", "time", "days", "seconds", "isoformat", "weekday", "count", "copy", "c", "real", "imag", "00", "tzname", "total_seconds", "capitalize", "splitlines"]


def path(r):
    p = r.choice(NAMES)
    while r.random() < 0.3:
        p += "." + r.choice(ATTRS)
    return p


def atom(r):
    c = r.random()
    if c < 0.75:
        return path(r)
    if c < 0.85:
        return quoted(r, string(r))
    if c < 0.97:
        return r.choice(["1", "-1", "0", "3.5", "1e3", "True", "False", "None", "007", "-1.5", "+2", ".5", "1.", "1_0", "10000000000000000000000", "1e400"])
    return '_("it\'s <b>")'


def expr(r, chain=0.6):
    e = atom(r)
    while r.random() < chain:
        f = r.choice(NAMES_OF_FILTERS)
        arg = FILTERS[f]
        optional = f.endswith("?")
        e += "|" + f.rstrip("?")
        if arg and not (optional and r.random() < 0.3):
            e += ":" + arg(r)
        elif not arg and r.random() < 0.01:
            e += ":" + any_arg(r)
        chain *= 0.6
    return e


def cond(r, n=0):
    c = r.random()
    if n > 3 or c < 0.3:
        return expr(r, 0.2)
    if c < 0.4:
        return "not " + cond(r, n + 1)
    if c < 0.5:
        return expr(r, 0.1) + r.choice([" is ", " is not "]) + r.choice(["None", "True", "False"])
    op = r.choice(["and", "or", "==", "!=", "<", ">", "<=", ">=", "in", "not in"])
    return cond(r, n + 1) + " " + op + " " + cond(r, n + 1)


def body(r, depth):
    return "".join(piece(r, depth + 1) for _ in range(r.randint(0, 3)))


def tag(r, depth):
    e, x, b = (lambda: expr(r, 0.2)), (lambda: r.choice(["x", "y", "k", "s"])), (lambda: body(r, depth))
    return r.choice([
        lambda: "{%% if %s %%}%s{%% elif %s %%}%s{%% else %%}%s{%% endif %%}" % (cond(r), b(), cond(r), b(), b()),
        lambda: "{%% if %s %%}%s{%% endif %%}" % (cond(r), b()),
        lambda: "{%% for %s in %s %%}%s{{ forloop.%s }}{{ %s }}{%% empty %%}%s{%% endfor %%}" % (x(), e(), b(), r.choice(["counter", "counter0", "revcounter", "revcounter0", "first", "last", "parentloop.counter"]), x(), b()),
        lambda: "{%% for k, y in %s%s %%}{{ k }}={{ y }};%s{%% endfor %%}" % (r.choice(["m.items", "l", "rows", "m", "nest", e()]), r.choice(["", " reversed"]), b()),
        lambda: "{%% for x in rows reversed %%}{%% ifchanged x.name %%}%s{{ x.name }}{%% else %%}.{%% endifchanged %%}{%% endfor %%}" % b(),
        lambda: "{%% for x in %s %%}{%% ifchanged %%}{{ x|%s }}%s{%% endifchanged %%}{%% endfor %%}" % (e(), r.choice(["lower", "length", "first", "safe"]), b()),
        lambda: "{%% for x in %s %%}{%% cycle %s %s as c %%}{{ c }}{%% if x %%}{%% cycle c %%}{%% resetcycle c %%}{%% endif %%}{%% endfor %%}{{ c }}" % (e(), e(), e()),
        lambda: "{%% for x in rows %%}{%% cycle 'a' 'b' s as c silent %%}%s{{ c }}{%% resetcycle %%}{%% cycle i 2 3 %%}{%% endfor %%}" % b(),
        lambda: "{%% with %s=%s %s=%s %%}{{ %s }}%s{%% endwith %%}" % (x(), e(), x(), e(), x(), b()),
        lambda: "{%% with %s as x and %s as y %%}{{ x }}{{ y }}%s{%% endwith %%}" % (e(), e(), b()),
        lambda: "{%% firstof %s %s %s %%}" % (e(), e(), e()),
        lambda: "{%% firstof %s %s as x %%}{{ x }}{{ x|upper }}" % (e(), e()),
        lambda: "{%% filter %s %%}%s{%% endfilter %%}" % ("|".join(r.choice(["upper", "lower", "title", "linebreaks", "force_escape", "escapejs", "cut:'a'", "slugify", "urlize", "striptags", "truncatewords:3", "addslashes", "wordwrap:5", "first", "escape", "truncatechars_html:9"]) for _ in range(r.randint(1, 2))), b()),
        lambda: "{%% autoescape %s %%}%s{{ %s }}{%% endautoescape %%}" % (r.choice(["on", "off"]), b(), e()),
        lambda: "{%% spaceless %%} <p> %s </p>\n <b> x </b>{%% endspaceless %%}" % b(),
        lambda: "{%% regroup %s by %s as g %%}{%% for p in g %%}{{ p.grouper }}:{{ p.list }}{{ p.0 }};{%% endfor %%}{{ g }}" % (r.choice(["rows", "l", e()]), r.choice(["name", "n", "sub.k", "name|length", "0"])),
        lambda: "{%% widthratio %s %s %s %%}" % (e(), e(), e()),
        lambda: "{%% widthratio %s 7 100 as x %%}{{ x }}" % e(),
        lambda: "{%% now %s %%}" % date_format(r),
        lambda: "{%% now %s as x %%}{{ x }}" % date_format(r),
        lambda: "{%% templatetag %s %%}" % r.choice(["openblock", "closeblock", "openvariable", "closevariable", "openbrace", "closebrace", "opencomment", "closecomment", "x"]),
        lambda: "{% verbatim %}{{ x }}{% if %}{# c #}{% endverbatim %}",
        lambda: "{% comment %}{{ bad| }}{% endif %}{% endcomment %}{# " + text(r, WORDS, 3).replace("\n", "") + " #}",
        lambda: "{%% lorem %s w %%}" % r.choice(["1", "5", "19", "-3", "0", "miss", "'3'"]),
        lambda: "{% lorem 1 p %}{% lorem %}",
    ])()


def piece(r, depth):
    c = r.random()
    if c < 0.2:
        return text(r, WORDS + HTML, 3).replace("{", "")
    if c < 0.65 or depth > 3:
        return "{{ %s }}" % expr(r)
    return tag(r, depth)


def mutate(r, s):
    for _ in range(r.randint(1, 3)):
        if not s:
            return s
        i, j = r.randrange(len(s)), r.randrange(len(s))
        s = r.choice([lambda: s[:i] + s[i + 1:], lambda: s[:i] + r.choice(["{", "}", "%", "|", ":", "'", '"', ".", " ", "_", "(", ")", "\n", "not ", "in ", "as ", "{%", "%}", "{{", "}}", "{#"]) + s[i:],
                      lambda: s[:min(i, j)] + s[max(i, j):] if abs(i - j) < 12 else s, lambda: s[:i] + s[j:j + 6] + s[i:]])()
    return s


def refused(template):
    """Names a tag that Django has and pkg/template refuses, or something listed above."""
    return any(w in template for w in ("load", "include", "extends", "block ", "csrf", "{% url", "debug", "querystring", "random", "self=", "context=")) or (
        " is " in template and "mutated" in template)


def case(r):
    if r.random() < 0.4:
        return dict(focus(r), autoescape=r.random() < 0.5, datetimes="django", now="2026-03-29T00:59:59.5+00:00")
    template = "".join(piece(r, 0) for _ in range(r.choice([1, 1, 2, 3])))
    if r.random() < 0.12:
        template = mutate(r, template)
        if " is " in template or "lorem" in template or "forloop }" in template or "forloop|" in template:
            template = "{{ s }}"
    if refused(template):
        template = "{{ s }}"
    c = {"template": template, "context": context(r), "autoescape": r.random() < 0.5, "datetimes": "django", "now": "2026-03-29T00:59:59.5+00:00" if r.random() < 0.5 else "2024-02-29T12:00:00+00:00"}
    if r.random() < 0.1:
        c["string_if_invalid"] = r.choice(["INVALID", "no %s!", "<b>%s"])
    if r.random() < 0.1:
        c["zone"] = r.choice(["America/Chicago", "Europe/Berlin", "Asia/Kolkata", "Pacific/Auckland"])
    return c


def characters(r, n):
    """Characters that this version of Python knows, of all planes."""
    out = []
    while len(out) < n:
        c = chr(r.choice([r.randint(0, 0x7f), r.randint(0x80, 0x24f), r.randint(0x250, 0x2fff), r.randint(0x3000, 0xd7ff), r.randint(0xe000, 0x1ffff)]))
        if unicodedata.category(c) != "Cn":
            out.append(c)
    return "".join(out)


def any_float(r):
    return {"$float": repr(struct.unpack("<d", struct.pack("<Q", r.getrandbits(64)))[0])} if r.random() < 0.5 else {"$float": repr(r.uniform(-1, 1) * 10 ** r.randint(-20, 25))}


def any_decimal(r):
    digits = str(r.randint(0, 10 ** r.randint(1, 40)))
    return {"$decimal": r.choice(["", "-"]) + digits + r.choice(["", "", ".", "." + str(r.randint(0, 10 ** 9)), "E%d" % r.randint(-60, 60), "E+%d" % r.randint(0, 300)]).rstrip(".")}


def moment(r):
    return {"$datetime": "%04d-%02d-%02dT%02d:%02d:%02d" % (r.randint(1, 9999), r.randint(1, 12), r.randint(1, 28), r.randint(0, 23), r.randint(0, 59), r.randint(0, 59)) + r.choice(["", ".%06d" % r.randint(1, 999999)])}


def focus(r):
    """One filter, and data made to be hard for it."""
    def html():
        return {"x": text(r, HTML, 20)}, r.choice(["striptags", "striptags", "truncatechars_html:%d" % r.randint(1, 30), "truncatewords_html:%d" % r.randint(1, 8), "escape", "linebreaks", "urlize"])

    def urls():
        return {"x": r.choice(["", "(", "[", "http://", "www."]) + text(r, URLS, 20)}, r.choice(["urlize", "urlize", "urlizetrunc:%d" % r.randint(0, 30)])

    def unicode():
        return {"x": r.choice([characters(r, r.randint(1, 12)), text(r, WORDS, 12)])}, r.choice([
            "upper", "lower", "title", "capfirst", "slugify", "escapejs", "make_list", "wordcount", "linenumbers", "phone2numeric", "json_script", "pprint", "stringformat:'r'", "stringformat:'a'", "urlencode", "iriencode",
            "truncatechars:%d" % r.randint(1, 10), "truncatewords:%d" % r.randint(1, 5), "wordwrap:%d" % r.randint(1, 20), "length", "slice:'::-1'", "center:20", "linebreaks", "addslashes", "striptags", "floatformat", "add:1"])

    def numbers():
        return {"x": r.choice([any_float, any_decimal, number])(r), "y": r.choice([any_float, any_decimal, number])(r)}, r.choice([
            "floatformat:%d" % r.randint(-6, 12), "floatformat:'%dg'" % r.randint(-4, 4), "floatformat", "stringformat:%s" % percent_format(r), "stringformat:'.%dg'" % r.randint(0, 20), "stringformat:'.%de'" % r.randint(0, 20), "stringformat:'.%df'" % r.randint(0, 20),
            "filesizeformat", "add:y", "divisibleby:y", "get_digit:3", "pluralize", "yesno", "upper", "pprint", "json_script", "length",
            "default:y }}{% if x < y %}<{% endif %}{% if x == y %}={% endif %}{% if x > y %}>{% endif %}{% widthratio x y 100 %}{{ x", "safe }}{{ x"])

    def numerals():
        return {"x": "".join(r.choice(["1", "0", "9", ".", "e", "E", "-", "+", "_", " ", "5", "٣", "inf", "nan", "x"]) for _ in range(r.randint(1, 8)))}, r.choice(["floatformat:2", "add:1", "divisibleby:3", "pluralize", "get_digit:1", "filesizeformat", "floatformat:'-3g'", "stringformat:'s' }}{% widthratio x 3 100 %}{{ x"])

    def dates():
        return {"x": r.choice([moment, temporal])(r), "y": moment(r)}, r.choice(["date:" + date_format(r), "date:" + date_format(r), "time:" + date_format(r), "timesince:y", "timeuntil:y", "add:y", "pprint", "json_script", "date:'r c U'"])

    def nested():
        return {"x": [value(r) for _ in range(r.randint(1, 8))]}, r.choice(["pprint", "pprint", "json_script", "unordered_list", "join:', '", "escapeseq", "safeseq", "dictsort:0", "first", "slice:'1:'", "stringformat:'s'"])

    data, call = r.choice([html, html, urls, unicode, unicode, numbers, numbers, numerals, dates, nested])()
    if r.random() < 0.2 and isinstance(data["x"], str):
        data["x"] = {"$safe": data["x"]}
    return {"template": "{{ x|%s }}" % call if not call.startswith("safe }}") else "{{ x }}", "context": data}


def cases(seed):
    r = random.Random(seed)
    while True:
        yield case(r)
