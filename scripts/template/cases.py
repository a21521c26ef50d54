"""The table of cases for testdata/template: one file per filter and per tag.

Every case is rendered by Django; this file says only what is asked, never what is
right. A case is (template, names of values, extra); values are those of VALUES.
"""

DT = "2024-03-09T21:05:06.123456+02:00"
VALUES = {
    "miss": None,  # never put into a context: a variable that does not exist
    "none": None, "true": True, "false": False, "zero": 0, "one": 1, "neg": -12, "int": 1234567, "big": 12345678901234567890123,
    "float": {"$float": "1.5"}, "third": {"$float": "0.3333333333333333"}, "tiny": {"$float": "1.5e-07"}, "huge": {"$float": "1e+22"},
    "vast": {"$float": "1e+300"}, "inf": {"$float": "inf"}, "nan": {"$float": "nan"}, "negzero": {"$float": "-0.0"},
    "dec": {"$decimal": "12.50"}, "decneg": {"$decimal": "-2.675"}, "decexp": {"$decimal": "1E+5"}, "decnan": {"$decimal": "NaN"}, "decinf": {"$decimal": "-Infinity"},
    "declong": {"$decimal": "123456789.123456789123456789123456789"}, "decsmall": {"$decimal": "0.00000001"},
    "empty": "", "space": "  \t ", "word": "hello", "text": "The quick brown fox jumps over the lazy dog", "quote": "it's \"quoted\" \\ back",
    "html": "<p class='x'>A <b>bold &amp; brave</b> move<br>here</p>", "broken": "<p <b>x</ b> <!-- c --> <? pi ?> < 5 & > &lt &#39; <i", "amp": "a & b < c > d",
    "safe": {"$safe": "<i>safe & sound</i>"}, "safeplain": {"$safe": "plain"}, "lines": "one\ntwo\r\nthree\r\rfour\n\n\nfive", "para": "a\n\nb\nc\n\n\n\nd\n",
    "unicode": "Straße naïve ΑΣ ǅ ﬁ İ 日本語", "combining": "e\u0301e\u0301 n\u0303", "emoji": "👩\u200d👧 🎉 ok", "nul": "a\x00b\x07\x1f\u2028\u2029\x85",
    "url": "see http://example.com/a?b=1&c=2, www.x.org or mail a.b@c.com (https://d.net/x_(y)).", "mixed": "don't STOP o'NEILL 1st 2ND a-b",
    "digits": "12345", "number": " 42 ", "decimalstr": "3.14159", "underscore": "1_000", "arabic": "٣٤", "words": "one  two\tthree\nfour",
    "list": [3, 1, 2], "strs": ["b", "<a>", "c & d"], "mixedlist": [1, "a", None, True, {"$float": "1.5"}, {"$decimal": "2.0"}, ["x"]], "emptylist": [],
    "nested": ["A", ["B", ["C", "<D>"], "E"], "F", [], "G"], "safes": [{"$safe": "<b>"}, "<i>"],
    "map": {"b": 2, "a": "<x>", "c": None}, "emptymap": {}, "rows": [{"name": "b", "n": 2, "s": {"k": 1}}, {"name": "a", "n": 2, "s": {"k": 3}}, {"name": "a", "n": 1, "s": {"k": 2}}],
    "pairs": [["x", 1], ["y", 2]], "dates": [{"$date": "2024-01-02"}, {"$datetime": DT}, {"$time": "01:02:03"}, {"$duration": 1.5}],
    "dt": {"$datetime": DT}, "utc": {"$datetime": "2023-12-31T23:59:59+00:00"}, "naive": {"$datetime": "2024-02-29T00:00:00"}, "noon": {"$datetime": "2000-01-01T12:00:00"},
    "old": {"$datetime": "1582-10-05T03:04:05"}, "date": {"$date": "2024-02-29"}, "newyear": {"$date": "2021-01-01"}, "time": {"$time": "13:05:06.000007"},
    "midnight": {"$time": "00:00:00"}, "delta": {"$duration": 90061.5}, "deltaneg": {"$duration": -3600}, "deltazero": {"$duration": 0},
}
NOW = "2026-03-29T00:59:59.5+00:00"
ALL = [v for v in VALUES]
TEXTS = ["miss", "none", "empty", "space", "word", "text", "quote", "html", "broken", "amp", "safe", "lines", "para", "unicode", "combining", "emoji", "nul", "url", "mixed",
         "int", "dec", "list", "strs", "map", "true", "date"]
NUMERIC = ["miss", "none", "true", "false", "zero", "one", "neg", "int", "big", "float", "third", "tiny", "huge", "vast", "inf", "nan", "negzero", "dec", "decneg", "decexp", "decnan",
           "decinf", "declong", "decsmall", "empty", "word", "digits", "number", "decimalstr", "underscore", "arabic", "list", "map", "date", "safe"]
LISTS = ["miss", "none", "empty", "word", "safe", "list", "strs", "mixedlist", "emptylist", "nested", "safes", "map", "emptymap", "rows", "pairs", "dates", "int", "float", "true", "dt", "unicode"]
TIMES = ["miss", "none", "empty", "word", "int", "dt", "utc", "naive", "noon", "old", "date", "newyear", "time", "midnight", "delta", "list", "float"]

SIZES = ["0", "1", "5", "12", "30", "-1", '"7"', '"x"', "1.9", "none", "list", "miss", '" 4 "', "true"]
DATES = ['"%s"' % c for c in "aAbcdDeEfFgGhHiIjlLmMnNoOPrsStTuUwWyYzZ"] + [
    '"Y-m-d H:i:s.u"', r'"jS \o\f F"', '"DATE_FORMAT"', '"TIME_FORMAT"', '"DATETIME_FORMAT"', '"SHORT_DATE_FORMAT"', '"SHORT_DATETIME_FORMAT"', '"YEAR_MONTH_FORMAT"', '"MONTH_DAY_FORMAT"', '""', '"x"', r'"\\Y"', "none", "int", '"é Y"']

# filter: (inputs, arguments; None stands for no argument)
FILTERS = {
    "add": (["one", "neg", "big", "float", "inf", "nan", "dec", "decnan", "decinf", "word", "digits", "safe", "list", "map", "none", "miss", "date", "naive", "delta", "true", "html"],
            ["1", "-5", "1.5", '"2"', '"x"', "big", "list", "strs", "delta", "date", "none", "safe", "miss", "nan", "dec"]),
    "addslashes": (TEXTS, [None]), "capfirst": (TEXTS, [None]),
    "center": (["word", "safe", "empty", "unicode", "int", "none", "html"], SIZES),
    "cut": (["text", "quote", "html", "safe", "int", "list", "none", "unicode"], ['" "', '"o"', '"<b>"', '";"', '"&"', '""', "1", "none", "word", '_("x")', '"é"']),
    "date": (TIMES, [None, '"Y-m-d"', '"c"', '"r"', '"U"', '"H:i"', '"e O T Z I"', '"P"', '"DATE_FORMAT"', '"x"']),
    "default": (ALL, ['"<d>"', "0"]), "default_if_none": (ALL, ['"<d>"']),
    "dictsort": (["rows", "pairs", "list", "mixedlist", "strs", "map", "none", "miss", "empty", "word", "emptylist", "int", "dates"], ['"name"', '"n"', '"s.k"', "0", "1", "7", '"0"', '"x"', '"_x"', '""', "none", "1.5", '"name.x"', "list"]),
    "dictsortreversed": (["rows", "pairs", "list", "miss", "mixedlist"], ['"name"', '"n"', '"s.k"', "0", "1", '"x"', "none"]),
    "divisibleby": (NUMERIC, ["1", "3", "-2", "0", '"2"', '"x"', "2.5", "none"]),
    "escape": (TEXTS + ["safes", "safeplain"], [None]), "escapejs": (TEXTS, [None]), "escapeseq": (LISTS, [None]),
    "filesizeformat": (NUMERIC + ["delta"], [None]), "first": (LISTS + ["delta"], [None]),
    "floatformat": (NUMERIC, [None, "0", "1", "2", "5", "-1", "-3", '"2g"', '"g"', '"-2u"', '"2gu"', '"x"', '""', "none", "1.7", "40"]),
    "force_escape": (TEXTS + ["safes"], [None]), "get_digit": (NUMERIC, ["1", "2", "0", "-1", "30", '"2"', '"x"', "none", "big"]),
    "iriencode": (TEXTS, [None]), "join": (LISTS, ['", "', '"<br>"', '""', "1", "none", "safe", "list", '_("&")']),
    "json_script": (ALL, [None, '"the-id"', '"<&\'>"', '""', "int"]), "last": (LISTS, [None]), "length": (ALL, [None]),
    "linebreaks": (TEXTS, [None]), "linebreaksbr": (TEXTS, [None]), "linenumbers": (TEXTS, [None]),
    "ljust": (["word", "safe", "unicode", "int", "none", "html"], SIZES), "lower": (TEXTS, [None]), "make_list": (TEXTS + ["neg", "float"], [None]),
    "phone2numeric": (["miss", "none", "word", "mixed", "unicode", "safe", "int", "list", "html"], [None]), "pluralize": (NUMERIC + ["emptylist", "strs", "delta", "nested"], [None, '"es"', '"y,ies"', '"a,b,c"', '","', '""', "one", "list"]),
    "pprint": (ALL, [None]), "rjust": (["word", "safe", "unicode", "int", "none", "html"], SIZES), "safe": (TEXTS, [None]), "safeseq": (LISTS, [None]),
    "slice": (["word", "safe", "list", "strs", "nested", "emptylist", "unicode", "map", "none", "miss", "int", "dates"], ['":2"', '"1:"', '"-2:"', '"::2"', '"::-1"', '"1"', '"-1"', '""', '":"', '"x"', '"1:2:3:4"', '"::0"', '"5:1:-2"', '"99:"', "1", "none", '" 1 : 3 "']),
    "slugify": (TEXTS + ["words"], [None]),
    "stringformat": (["word", "safe", "unicode", "quote", "int", "neg", "zero", "big", "float", "third", "huge", "inf", "nan", "dec", "decneg", "none", "true", "list", "map", "date", "pairs"],
                     ['"s"', '"r"', '"a"', '"d"', '"i"', '"x"', '"#X"', '"o"', '"05d"', '"+d"', '"-8d|"', '"e"', '".3f"', '"012.2f"', '"g"', '"#.3G"', '"c"', '"%"', '"10s"', '".2s"', '"q"', '""', '"s%s"', '"(a)s"', '"*d"', '"ld"', "int"]),
    "striptags": (TEXTS, [None]), "time": (TIMES, [None, '"H:i"', '"g:i A"', '"f a"', '"P"', '"u"', '"Y"', '"e"', '"TIME_FORMAT"', '"x"', "none"]),
    "timesince": (TIMES, [None, "dt", "naive", "date", "none", "word", "utc"]), "timeuntil": (TIMES, [None, "dt", "naive", "date", "old"]), "title": (TEXTS, [None]),
    "truncatechars": (["word", "text", "unicode", "combining", "emoji", "safe", "html", "int", "none", "empty"], SIZES), "truncatechars_html": (["text", "html", "broken", "safe", "amp", "unicode", "empty", "none", "lines"], SIZES),
    "truncatewords": (["text", "words", "html", "safe", "unicode", "none", "para"], SIZES), "truncatewords_html": (["text", "html", "broken", "safe", "words", "amp", "none"], SIZES),
    "unordered_list": (LISTS, [None]), "upper": (TEXTS, [None]), "urlencode": (TEXTS, [None, '""', '"/:"', "none", "one", '"é"']), "urlize": (TEXTS, [None]),
    "urlizetrunc": (["url", "html", "safe", "amp", "none", "unicode"], SIZES), "wordcount": (TEXTS + ["words"], [None]), "wordwrap": (["text", "words", "para", "lines", "unicode", "safe", "none", "empty", "html"], SIZES),
    "yesno": (ALL, [None, '"a,b"', '"<y>,n,m"']), "escape_chain": ([], []),
}
ATTRIBUTES = {
    "word text mixed unicode safe empty lines words nul": "upper lower title capitalize strip lstrip rstrip split rsplit splitlines isspace isascii 0 3 99 -1 x replace join count find startswith center zfill",
    "int neg zero big true false": "real imag numerator denominator conjugate bit_length bit_count as_integer_ratio x 0",
    "float third huge nan inf": "real imag conjugate is_integer x 0", "dec decneg decexp decnan decinf": "real imag conjugate canonical is_finite is_infinite is_nan is_signed is_zero copy_abs x 0",
    "dt utc naive noon old": "year month day hour minute second microsecond date time isoformat weekday isoweekday toordinal timestamp tzname utcoffset x 0",
    "date newyear": "year month day isoformat weekday isoweekday toordinal hour x", "time midnight": "hour minute second microsecond isoformat tzname utcoffset year x",
    "delta deltaneg deltazero": "days seconds microseconds total_seconds x 0", "list strs nested emptylist mixedlist": "0 1 2 9 00 01 x copy index count append",
    "map emptymap": "a b c z keys values items copy get pop setdefault 0", "none miss": "a 0", "rows": "0.name 1.s.k 0.s 9.name name 0.keys 0.items",
}


def attributes():
    for names, parts in ATTRIBUTES.items():
        for v in names.split():
            for p in parts.split():
                yield "{{ %s.%s }}" % (v, p), [v], {}
                if p in ("keys", "values", "items", "split", "date", "copy", "as_integer_ratio", "utcoffset"):
                    yield "{%% for x in %s.%s %%}[{{ x }}]{%% endfor %%}{{ %s.%s|length }}{%% if %s.%s %%}T{%% endif %%}{{ %s.%s.0 }}" % ((v, p) * 4), [v], {}


CASED = "ß ŉ ǰ ΐ և ẖ ẞ ﬀ ﬁ ﬃ ﬅ ﬗ ǆ ǅ Ǆ İ ı ſ K Å µ ͅ ᾀ ᾈ ᾳ ᾼ ῷ Σ ΑΣ ΑΣΑ Σ. ΑΣ. Α.Σ Α'Σ ΑΣ' ΣΑ o'neill x'Y aʰ ªb ⓐ Ⓐ ⅷ ა Ა ꭰ 𐐨 𐐀 dž Ⅷ ١a 1a _a é\u0301a".split()


def casing():
    for s in CASED + [" ".join(CASED)]:
        for f in ("upper", "lower", "title", "capfirst", "slugify"):
            yield "{{ x|%s }}" % f, {"x": s}, {}
        yield "{{ x.capitalize }}{{ x.title }}", {"x": s}, {}


NUMERALS = ["7", " 7 ", "\t7\n", "\x1c7", "\x857", "\u30007", "7\u3000", "\u30007\x1c", "\u0663", "\u0663\x1c", "+7", "-7", "--7", "+-7", "7_0", "7__0", "_7", "7_", "7.", ".7", ".", "7e2", "7E+2", "7e", "e7", "7.5e-1", "7e400", "-7e400", "7e-400", "inf", "-Inf", "INFINITY", "infi", "nan", "-nan", "NaN12", "sNaN", "snan1", "0x7", "0b1", "07", "007", "7j", "True",
            "", " ", "1 0", "1,0", "1" * 50, "1" * 200, "1" * 201, "0." + "0" * 198 + "1", "0." + "0" * 200 + "1", "1" * 4300, "1" * 4301, "1e199", "1e200", "1e201", "\uff17", "𝟕", "½", "²", "Ⅶ", "7\x00"]


def numerals():
    for s in NUMERALS:
        for f in ("add:1", "divisibleby:7", "floatformat:2", "floatformat", "pluralize", "get_digit:1", "filesizeformat", "stringformat:'d'"):
            yield "{{ x|%s }}" % f, {"x": s}, {}
        yield "{% widthratio x 7 100 %}|{% widthratio 1 1 x %}", {"x": s}, {}
        yield "{{ l.0 }}{{ x|truncatechars:x }}", {"x": s, "l": ["l"]}, {}
    for s in ("\x7f", "\u2028", "\ud7ff", "\ue000", "\uffff", "\U0001f600", "\x1f", "\xad", "\u200d", "\ufeff", "\u0300", "\t\r\n\b\f", "'", '"', "'\"", "\\", "\xa0"):
        for f in ("json_script", "escapejs", "pprint", "stringformat:'r'", "stringformat:'a'", "urlencode", "iriencode", "slugify", "make_list", "wordcount", "truncatechars:1", "linenumbers", "center:4", "addslashes"):
            yield "{{ x|%s }}" % f, {"x": "a%sb" % s}, {}


def lazy():
    """Texts written _("…") are no str to what insists on one."""
    for f in FILTERS:
        if f != "escape_chain":
            for arg in ("", ":1", ':"x"'):
                yield "{{ _(\"it's <b> 7%%\")|%s%s }}" % (f, arg), [], {}
            for v in ("word", "list", "rows", "int", "safe", "dt", "map"):
                yield "{{ %s|%s:_('2') }}" % (v, f), [v], {}
    for t in ("{{ _('<b>')|stringformat:'s' }}", "{{ _('<b>')|stringformat:'#s' }}", "{{ _('<b>')|stringformat:'9s' }}", "{{ _('<b>')|stringformat:'%' }}", "{{ map.items|stringformat:'%x' }}|{{ map.keys|stringformat:'%x' }}|{{ map.values|stringformat:'s' }}|{{ map|stringformat:'%x' }}", "{{ _('7')|phone2numeric|divisibleby:7 }}", "{% if _('a') in 'abc' %}T{% endif %}", "{% if 'a' in _('abc') %}T{% endif %}",
              "{% if _('a') == 'a' %}T{% endif %}", "{% if _('a') < 'b' %}T{% endif %}", "{% for x in _('a<c') %}{{ x }}{% endfor %}", "{% firstof _('<b>') %}", "{% with x=_('a b') %}{{ x }}{{ x|length }}{% endwith %}", "{% cycle _('<') _('>') %}", "{% widthratio _('1') 2 3 %}", "{% widthratio 1 2 _('3') %}", "{% ifchanged _('a') %}x{% endifchanged %}"):
        yield t, [], {}


TAKES_NONE = ["linebreaks", "urlize", "unordered_list", "lower", "length", "json_script", "add", "join", "cut", "upper"]

URLS = ["http://a.com", "HTTPS://A.COM/é?x=ü#y", "http://a.com.", "(http://a.com)", "http://a.com/x_(y)", "http://a.com/&amp;", "http://a.com/&lt;b", "http://a.com/&quot;!", "www.a.com,", "a.com", "a.com/x", "a.com:80", "a.io", "x@a.com",
        "x@localhost", "x@a.b.c.de;", "\"q\"@a.com", "http://[::1]/x", "http://[x", "http://a.com?q=%20+%zz&b", "http://a.com/%E9%", "https://", "http:// a", "mailto:x@a.com", "ftp://a.com", "http://日本.com/日本", "http://a.com/;x;", "a.org;", "[a.org]",
        "((a.org))", "a.org])", "http://a.com/a'b", "http://a.com/<b>", "http://a.com/\"x\"", "x.com!!!", "http.com", "httpx.org", "_x.net", "a@b.com.", "a@-b.com", "a@b..com", "é@b.com", "a@日本.com", "a@[127.0.0.1]", "http://" + "a" * 60 + ".com"]
TAGSOUP = ["<a>x</a>", "a<b", "a < b > c", "<a href='x>y'>z</a>", "<a href=\"x>y\">z", "<a b=c/>d", "<br/>x", "<p\nclass=x>y", "<!-- a > b -->c", "<!-- a", "<!doctype html>x", "<![CDATA[x]]>y", "<![if x]>y<![endif]>z", "<![foo]>", "<?php echo 1 ?>x", "<?php", "</p>x", "</ p>x", "</>x", "</3>x",
           "<3", "<script>a<b></script>c", "<style>x</style >y", "<script>x", "&amp; &lt;x&gt; &#60; &#x3c;", "&copy &copy; &bogus;", "&", "x &", "a &b", "a &#", "a &#;", "<<b>>x", "<b<i>x</i>", "<a =b>x", "<a b='c>d", "<a/b/c>x", "<\x00a>x", "<a\x00>x", "x<", "x</", "x<!", "<sc<script>x</script>ript>y", "<A HREF=x>Y</A>", "<é>x", "&notit; &ampx;",
           "<p>" * 60 + "x"]


def filter_cases(name):
    inputs, args = FILTERS[name]
    for v in inputs:
        for a in args:
            yield "{{ %s|%s%s }}" % (v, name, "" if a is None else ":" + a), [v, a], {}
    if name in TAKES_NONE:
        yield '{{ word|%s:"x":"y" }}' % name, ["word"], {}
        yield '{{ list|%s:"x" }}' % name, ["list"], {}
        yield "{{ word|%s: }}" % name, ["word"], {}
        yield '{{ _("a <b>")|%s }}' % name, [], {}
    if name == "date":
        for v in ("dt", "naive", "date", "time", "newyear", "old"):
            for a in DATES:
                yield "{{ %s|date:%s }}" % (v, a), [v, a], {}
        for zone in ("America/Chicago", "Asia/Kolkata", "Australia/Lord_Howe"):
            for v in ("dt", "naive", "date", "time"):
                yield '{{ %s|date:"r e O T Z I U c" }}|{{ %s }}|{{ %s.timestamp }}' % (v, v, v), [v], {"zone": zone}
        for text in ("2024-03-10T02:30:00", "2024-11-03T01:30:00", "2024-11-03T07:30:00+00:00", "2024-11-03T06:30:00+00:00", "2024-07-01T00:00:00"):
            yield '{{ x|date:"e O T Z I U" }}', {"x": {"$datetime": text}}, {"zone": "America/Chicago"}
        for text in ("0001-01-01T05:00:00", "0001-01-02T00:00:00", "0001-03-07T12:00:00.000001", "1969-12-31T23:59:59.500000", "9999-12-31T23:59:59.999999"):
            yield "{{ x|date:'r c U' }}", {"x": {"$datetime": text}}, {}
    if name == "timesince":
        for a, b in (("2023-02-10", "2024-03-10"), ("2007-08-10", "2008-09-10"), ("2024-01-31", "2024-02-29"), ("2023-12-31", "2024-02-28"), ("2020-02-29", "2024-02-28"), ("2000-01-01", "2024-12-31"), ("2024-05-05", "2024-05-05"), ("2024-05-06", "2024-05-05")):
            for f in ("timesince", "timeuntil"):
                yield "{{ a|%s:b }}|{{ b|%s:a }}" % (f, f), {"a": {"$date": a}, "b": {"$date": b}}, {}
    if name in ("urlize", "urlizetrunc"):
        for u in URLS:
            yield "{{ x|%s%s }}" % (name, ":12" if name == "urlizetrunc" else ""), {"x": u}, {}
    if name == "striptags":
        for s in TAGSOUP:
            yield "{{ x|striptags }}", {"x": s}, {}
    if name in ("truncatechars_html", "truncatewords_html"):
        for s in TAGSOUP:
            yield "{{ x|%s:2 }}" % name, {"x": s}, {}
    if name == "escape_chain":
        for chain in ("escape|escape", "force_escape|escape", "escape|force_escape", "safe|escape", "safe|upper", "safe|lower", "upper|safe", "safe|cut:'<'", "safe|join:'|'", "lower|safe|add:'<'", "safe|add:safe", "safe|slice:':3'", "safe|first", "safe|last",
                      "safe|default:'x'", "escape|linebreaks", "safe|linebreaks", "urlize|upper", "striptags|safe", "safe|truncatechars:4", "safe|length", "safe|stringformat:'s'", "safe|make_list", "make_list|safeseq|join:''", "make_list|escapeseq|join:''", "safe|wordcount", "safe|center:30", "safe|yesno", "safe|title", "safe|addslashes"):
            for v in ("html", "safe", "amp", "quote", "none", "int", "strs"):
                yield "{{ %s|%s }}" % (v, chain), [v, "safe"], {}


def operators():
    pairs = [("one", "true"), ("one", "float"), ("zero", "false"), ("dec", "float"), ("none", "none"), ("none", "false"), ("miss", "none"), ("word", "word"), ("word", "text"), ("list", "list"), ("list", "pairs"), ("map", "emptymap"), ("date", "newyear"), ("date", "naive"), ("dt", "utc"), ("dt", "naive"),
             ("delta", "deltaneg"), ("nan", "nan"), ("decnan", "decnan"), ("decnan", "one"), ("big", "huge"), ("inf", "big"), ("strs", "nested"), ("time", "midnight"), ("int", "digits"), ("safe", "safe"), ("third", "dec"), ("decexp", "int")]
    for a, b in pairs:
        for op in ("==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"):
            yield "{%% if %s %s %s %%}T{%% else %%}F{%% endif %%}" % (a, op, b), [a, b], {}
    for a in ALL:
        yield "{%% if %s %%}T{%% elif not %s %%}N{%% endif %%}{%% if %s is None %%}0{%% endif %%}{%% if %s is not True %%}1{%% endif %%}" % (a, a, a, a), [a], {}


def expressions():
    for e in ("one == 1 and word", "not one or zero", "not one == 0", "not zero and not one", "one in list", "one in list or miss", "not one in list", "4 not in list", "'ell' in word", "word in 'say hello'", "1 < 2 < 3", "3 > 2 > 1", "1 == 1 == True", "one and zero or one", "one or zero and zero", "word|length == 5",
              "word|upper == 'HELLO'", "list|first > 2", "map.b == 2", "map.x", "rows.0.s.k == 1", "list.7", "miss.a.b", "none == None", "true is True", "one is True", "false is not None", "1.0 == 1", "'a' < 'b'", "'1' == 1", "none < 1", "miss > 1", "one|add:miss", "one|add:miss == 1", "one|divisibleby:0", "one|divisibleby:0 or one",
              "_('x') == 'x'", "'and' in 'and or'", "a.b.c and", "and one", "one and", "one one", "not", "one not two", "", "one is", "is one", "in list", "one in", "one == == 1", "(one)", "one = 1", "one <> 1", "one && one", "not not one", "one or or one", "one is not not one", "one not in", "'x", "one|", "1 in 1", "'b' in map", "list in map", "2 in map.values", "'b' in map.keys"):
        yield "{%% if %s %%}T{%% else %%}F{%% endif %%}" % e, ["one", "zero", "word", "list", "map", "rows", "none", "true", "false"], {}


TAGS = {
    "variable": ["{{ %s }}" % v for v in ALL] + [
        "{{ }}", "{{}}", "{{ x", "{{ a b }}", "{{ .a }}", "{{ a. }}", "{{ a..b }}", "{{ _a }}", "{{ a._b }}", "{{ a.__class__ }}", "{{ 1.5 }}{{ -1 }}{{ +2 }}{{ .5 }}{{ 1e3 }}", "{{ 1. }}", "{{ 1.e2 }}", "{{ 1_0 }}", "{{ 007 }}", "{{ 1e400 }}", "{{ 'a\\'b' }}{{ \"c\\\"d\" }}{{ 'e\\\\f' }}{{ 'g\\h' }}", "{{ '<x>' }}{{ _('<y>') }}{{ _(\"100%\") }}",
        "{{ 'a }}", "{{ word|nosuch }}", "{{ word| upper }}{{ word |upper }}", "{{ word|upper|lower|title }}", "{{ word|upper: }}", "{{ word|default:a b }}", "{{ |upper }}", "{{ word||upper }}", "{{ word|upper| }}", "{{ word.upper }}{{ word.title }}{{ word.0 }}{{ word.9 }}{{ word.-1 }}", "{{ map.b }}{{ map.a }}{{ map.c }}{{ map.z }}{{ map.items }}{{ map.keys }}{{ map.values }}",
        "{{ list.0 }}{{ list.2 }}{{ list.3 }}{{ list.a }}{{ list.00 }}", "{{ rows.0.name }}{{ rows.1.s.k }}{{ rows.9.name }}{{ rows.x.name }}", "{{ dt.year }}-{{ dt.month }}-{{ dt.day }} {{ dt.hour }}:{{ dt.minute }}:{{ dt.second }}.{{ dt.microsecond }} {{ dt.weekday }}{{ dt.isoweekday }} {{ dt.isoformat }} {{ dt.date }} {{ dt.time }} {{ dt.utcoffset }} {{ dt.tzname }} {{ dt.timestamp }}",
        "{{ date.year }}{{ date.isoformat }}{{ date.hour }}|{{ time.hour }}{{ time.isoformat }}{{ time.year }}|{{ delta.days }} {{ delta.seconds }} {{ delta.microseconds }} {{ delta.total_seconds }}", "{{ int.real }}{{ int.imag }}{{ float.real }}{{ float.is_integer }}{{ dec.real }}{{ dec.is_zero }}", "{{ map.get }}{{ word.replace }}{{ list.index }}|", "{{ True }}{{ False }}{{ None }}{{ true }}",
        "a{b}c{ {x} }{%x}{{y}", "{# comment #}a{# {{ x }} #}{#b", "{{ word }}\n{{ word\n}}", "%}{{ word }}}}", "{{{ word }}}", "{{ '}}' }}", "{{ word|default:'%}' }}", "{{ word|cut:\"|\" }}{{ word|cut:':' }}", "{{ dates }}", "{{ nested }}", "{{ safes }}", "{{ miss.a }}{{ none.a }}{{ one.a }}",
        "{{ word|default:_('x') }}{{ empty|default:_('<x>') }}", "{{ word|floatformat:_('2') }}", "{{ word|truncatechars:_('2') }}", "{{ list|join:_(', ') }}", "{{ _('abc')|upper }}{{ _('a<c')|last }}{{ _('a<c')|slice:'1:' }}", "{{ empty|default:miss }}", "{{ word|add:miss }}"],
    "autoescape": ["{% autoescape on %}{{ html }}{{ safe }}{% endautoescape %}{{ html }}", "{% autoescape off %}{{ html }}{% autoescape on %}{{ html }}{% endautoescape %}{{ amp }}{% endautoescape %}{{ amp }}", "{% autoescape %}x{% endautoescape %}", "{% autoescape maybe %}x{% endautoescape %}", "{% autoescape on off %}x{% endautoescape %}", "{% autoescape on %}x", "{% autoescape off %}{{ strs|join:'<' }}{{ lines|linebreaks }}{{ nested|unordered_list }}{% endautoescape %}", "{% endautoescape %}"],
    "comment": ["a{% comment %}b{{ c|bad }}{% if %}{% endcomment %}d", "{% comment 'note' %}x{% endcomment %}", "{% comment %}x", "{% comment %}{% comment %}{% endcomment %}x{% endcomment %}", "{# x #}y", "{# x\n#}", "{% comment %}{% verbatim %}{% endcomment %}x{% endverbatim %}", "{% endcomment %}"],
    "cycle": ["{% for x in list %}{% cycle 'a' 'b' %}{% endfor %}", "{% for x in list %}{% cycle 'a' 'b' as c %}{{ c }}{% cycle c %}{% endfor %}{{ c }}", "{% cycle 'a' 'b' as c silent %}{{ c }}{% cycle c %}{{ c }}", "{% for x in list %}{% cycle html safe none %}{% endfor %}", "{% cycle %}", "{% cycle c %}", "{% cycle a b as c d %}", "{% cycle 'a' 'b' as c %}{% cycle d %}", "{% cycle 'a' 'b' as word %}{{ word }}", "{% for x in list %}{% for y in list %}{% cycle 1 2 %}{% endfor %}{% endfor %}",
              "{% with c='x' %}{% for x in list %}{% cycle 'a' 'b' as c %}{% endfor %}{{ c }}{% endwith %}{{ c }}", "{% for x in list %}{% cycle 'a' 'b' as word %}{% endfor %}{{ word }}", "{% cycle 'a' as b %}", "{% cycle 'a' 'b' as c silent silent %}", "{% cycle miss 1 %}{% cycle 1 2 as x %}{% cycle x %}{% cycle x %}", "{% cycle 'a'|upper 'b' as c %}{% cycle c %}", "{% for x in list %}{% if x > 1 %}{% cycle 'a' 'b' %}{% endif %}{% endfor %}"],
    "resetcycle": ["{% for x in list %}{% cycle 'a' 'b' %}{% if x == 1 %}{% resetcycle %}{% endif %}{% endfor %}", "{% for x in strs %}{% cycle 'a' 'b' 'c' as c %}{% cycle 1 2 3 %}{% resetcycle c %}{% endfor %}", "{% resetcycle %}", "{% resetcycle c %}", "{% cycle 'a' 'b' as c %}{% resetcycle d %}", "{% cycle 'a' 'b' as c %}{% resetcycle c d %}", "{% for x in list %}{% cycle 'a' 'b' as c %}{% for y in list %}{% cycle 1 2 %}{% endfor %}{% resetcycle %}{% endfor %}"],
    "filter": ["{% filter upper %}a{{ html }}{% endfilter %}", "{% filter upper|lower|title %}ab cd{% endfilter %}", "{% filter force_escape %}<{{ html }}>{% endfilter %}", "{% filter cut:' '|upper %}a b{% endfilter %}", "{% filter safe %}x{% endfilter %}", "{% filter escape %}x{% endfilter %}", "{% filter %}x{% endfilter %}", "{% filter nosuch %}x{% endfilter %}", "{% filter length %}abc{% endfilter %}", "{% filter upper %}x", "{% filter linebreaks %}a\n\nb<{% endfilter %}", "{% filter default:'x' %}{% endfilter %}", "{% filter add:word %}a{% endfilter %}{{ var }}", "{% filter first %}<b>{% endfilter %}", "{% filter escapejs %}'{% endfilter %}"],
    "firstof": ["{% firstof miss none empty word %}", "{% firstof miss none %}", "{% firstof miss 'x<y' %}", "{% firstof html %}", "{% firstof safe %}", "{% firstof %}", "{% firstof zero false float %}", "{% firstof miss word as x %}[{{ x }}]", "{% firstof html as x %}{{ x }}{{ x|upper }}", "{% firstof dt %}", "{% firstof list %}", "{% firstof html|upper %}", "{% firstof miss as x %}[{{ x }}]", "{% firstof as as as %}", "{% firstof big huge %}"],
    "for": ["{%% for x in %s %%}[{{ x }}]{%% empty %%}none{%% endfor %%}" % v for v in ALL] + ["{%% for x in %s reversed %%}{{ forloop.counter }}{{ x }}{%% endfor %%}" % v for v in LISTS] + ["{%% for a, b in %s %%}{{ a }}={{ b }};{%% endfor %%}" % v for v in LISTS + ["map.items"]] + [
        "{% for x in list %}{{ forloop.counter }}{{ forloop.counter0 }}{{ forloop.revcounter }}{{ forloop.revcounter0 }}{{ forloop.first }}{{ forloop.last }} {% endfor %}", "{% for x in list %}{% for y in strs %}{{ forloop.parentloop.counter }}.{{ forloop.counter }} {% endfor %}{% endfor %}", "{% for x in list %}{{ forloop.parentloop }}{{ forloop.x }}{% endfor %}{{ forloop }}", "{% for k, v in map.items %}{{ k }}:{{ v }},{% endfor %}", "{% for k in map %}{{ k }}{% endfor %}{% for v in map.values %}{{ v }}{% endfor %}", "{% for a,b in pairs %}{{ a }}{{ b }}{% endfor %}", "{% for a , b in pairs %}{{ a }}{{ b }}{% endfor %}", "{% for a, b, c in pairs %}x{% endfor %}", "{% for a, b in list %}x{% endfor %}",
        "{% for x in list|slice:':2' %}{{ x }}{% endfor %}", "{% for x in list|dictsort:0 %}{{ x }}{% endfor %}", "{% for x in 'abc' %}{{ x }}{% endfor %}", "{% for x in 123 %}{{ x }}{% endfor %}", "{% for x in %}{% endfor %}", "{% for x list %}{% endfor %}", "{% for in list %}{% endfor %}", "{% for x in list", "{% for x in list %}", "{% for x|y in list %}{% endfor %}", "{% for 'x' in list %}{% endfor %}", "{% for x, in list %}{% endfor %}", "{% for ,x in list %}{% endfor %}", "{% for x in list reversed extra %}{% endfor %}", "{% for in in list %}{{ in }}{% endfor %}", "{% for x.y in list %}{{ x.y }}{{ x }}{% endfor %}",
        "{% for x in list %}a{% empty %}b{% empty %}c{% endfor %}", "{% for x in list %}{% endfor x %}y", "{% endfor %}", "{% empty %}", "{% for x in list %}{% endif %}{% endfor %}", "{{ x }}{% for x in list %}{% endfor %}{{ x }}", "{% for forloop in list %}{{ forloop }}{% endfor %}", "{% for word in list %}{{ word }}{% endfor %}{{ word }}", "{% for x in dates %}{{ x }};{% endfor %}", "{% for x in nested.1 %}{{ x }}{% endfor %}", "{% for x in miss|default:list %}{{ x }}{% endfor %}", "{% for x in emptymap.items %}{% empty %}e{% endfor %}"],
    "if": [],
    "ifchanged": ["{% for x in rows %}{% ifchanged %}{{ x.name }}{% endifchanged %}{% endfor %}", "{% for x in rows %}{% ifchanged x.n %}{{ x.n }}{% else %}-{% endifchanged %}{% endfor %}", "{% for x in rows %}{% ifchanged x.name x.n %}{{ x.name }}{{ x.n }} {% endifchanged %}{% endfor %}", "{% for y in list %}{% for x in rows %}{% ifchanged %}{{ x.name }}{% endifchanged %}{% endfor %}{% endfor %}", "{% for y in list %}{% ifchanged %}{% for x in rows %}{{ x.name }}{% endfor %}{% endifchanged %}{% endfor %}", "{% ifchanged word %}a{% endifchanged %}{% ifchanged word %}b{% endifchanged %}", "{% ifchanged %}{% endifchanged %}", "{% for x in mixedlist %}{% ifchanged x %}{{ x }}{% endifchanged %}{% endfor %}", "{% for x in list %}{% ifchanged miss %}a{% else %}b{% endifchanged %}{% endfor %}", "{% for x in list %}{% ifchanged %}{% cycle '' '' %}{% else %}e{% endifchanged %}{% endfor %}", "{% ifchanged %}x", "{% ifchanged %}a{% else %}b{% else %}c{% endifchanged %}", "{% for x in list %}{% ifchanged x|divisibleby:2 %}{{ x }}{% endifchanged %}{% endfor %}"],
    "lorem": ["{% lorem %}", "{% lorem 1 %}", "{% lorem 3 w %}", "{% lorem 19 w %}", "{% lorem 0 w %}", "{% lorem -2 w %}", "{% lorem 1 p %}", "{% lorem 0 p %}", "{% lorem miss w %}", "{% lorem one w %}", "{% lorem none w %}", "{% lorem '2' w %}", "{% lorem 1 b %}", "{% lorem w %}", "{% lorem 1 2 w %}", "{% lorem word|length w %}", "{% lorem inf w %}", "{% lorem p %}"],
    "now": ["{%% now %s %%}" % d for d in DATES if d not in ("none", "int")] + ["{% now 'Y' as y %}[{{ y }}]", "{% now %}", "{% now 'Y' 'm' %}", "{% now Y %}", "{% now 'Y' as %}", "{% now x %}", "{% now 'jS F Y H:i' %}", "{% now \"'Y'\" %}"],
    "regroup": ["{% regroup rows by name as g %}{% for x in g %}{{ x.grouper }}:{% for y in x.list %}{{ y.n }}{% endfor %};{% endfor %}", "{% regroup rows by n as g %}{{ g }}", "{% regroup rows by s.k as g %}{% for x in g %}{{ x.grouper }}{{ x.list|length }}{{ x.0 }}{{ x.1 }}{% endfor %}", "{% regroup rows by name|upper as g %}{% for k, l in g %}{{ k }}{{ l|length }}{% endfor %}", "{% regroup miss by x as g %}[{{ g }}]", "{% regroup none by x as g %}[{{ g }}]", "{% regroup word by 0 as g %}{{ g }}", "{% regroup int by x as g %}x", "{% regroup list by x as g %}{{ g|length }}{{ g }}", "{% regroup rows by x as g %}{{ g|length }}", "{% regroup rows by name %}", "{% regroup rows on name as g %}", "{% regroup rows by name is g %}",
                "{% regroup pairs by 0 as g %}{% for x in g %}{{ x.grouper }}{{ x }}{% endfor %}", "{% regroup rows by name as rows %}{{ rows|length }}", "{% regroup mixedlist by real as g %}{{ g }}", "{% regroup dates by year as g %}{% for x in g %}{{ x.grouper }}{% endfor %}", "{% regroup map by 0 as g %}{{ g }}", "{% for x in list %}{% regroup rows by name as g %}{% endfor %}[{{ g }}]"],
    "spaceless": ["{% spaceless %} <p> <b>x</b> </p> {% endspaceless %}", "{% spaceless %}<p> x </p>\n\t<i>{{ html }}</i> > < <{% endspaceless %}", "{% spaceless %}  {% endspaceless %}", "{% spaceless %}<a>\u00a0</a> \u2003<b>{% endspaceless %}", "{% spaceless %}x", "{% spaceless %}<a> {% spaceless %} <b> {% endspaceless %} </a>{% endspaceless %}", "{% spaceless x %}<a> <b>{% endspaceless %}", "{% spaceless %}{{ safe }} {{ safe }}{% endspaceless %}"],
    "templatetag": ["{%% templatetag %s %%}" % a for a in ("openblock", "closeblock", "openvariable", "closevariable", "openbrace", "closebrace", "opencomment", "closecomment", "x", "", "openblock closeblock")] + ["{% templatetag openblock %} url {% templatetag closeblock %}"],
    "verbatim": ["{% verbatim %}{{ x }}{% if %}{# c #}{% endverbatim %}", "{% verbatim special %}{% endverbatim %}{% endverbatim special %}x", "{% verbatim %}x", "{% verbatim %}{% verbatim %}{% endverbatim %}", "{%verbatim%}{{x}}{%endverbatim%}", "{% verbatim %}{% endverbatim %}{{ word }}", "{% verbatimx %}", "{% endverbatim %}", "{% verbatim  x %}{% endverbatim x %}", "{% verbatim x %}{% endverbatim  x %}"],
    "widthratio": ["{%% widthratio %s %s %s %%}" % a for a in (("1", "2", "100"), ("one", "zero", "100"), ("int", "3", "0"), ("neg", "7", "100"), ("miss", "1", "1"), ("1", "miss", "1"), ("1", "2", "miss"), ("word", "2", "3"), ("1", "2", "word"), ("1.5", "3", "5"), ("2.5", "1", "1"), ("3.5", "1", "1"), ("'5'", "'2'", "'10'"), ("inf", "1", "1"), ("1", "nan", "1"), ("1", "1", "inf"), ("big", "1", "1"), ("1", "1", "big"), ("none", "1", "1"), ("1", "2", "none"), ("dec", "2", "4"), ("1", "2", "1.9"), ("vast", "0.1", "1"), ("list", "1", "1"), ("1", "2", "list"), ("true", "2", "100"))] + ["{% widthratio 1 2 %}", "{% widthratio 1 2 3 4 %}", "{% widthratio 1 2 100 as x %}[{{ x }}]", "{% widthratio 1 2 100 is x %}", "{% widthratio %}", "{% widthratio 1 2 100|add:1 %}"],
    "with": ["{% with x=word %}{{ x }}{% endwith %}{{ x }}", "{% with word as x %}{{ x }}{% endwith %}", "{% with x=1 y=2 %}{{ x }}{{ y }}{% endwith %}", "{% with word as x and int as y %}{{ x }}{{ y }}{% endwith %}", "{% with x=y y=word %}[{{ x }}]{{ y }}{% endwith %}", "{% with x=miss %}[{{ x }}]{% endwith %}", "{% with x=html|upper %}{{ x }}{% endwith %}", "{% with x=safe y='a b' %}{{ x }}{{ y }}{% endwith %}", "{% with %}x{% endwith %}", "{% with x %}x{% endwith %}", "{% with x= %}x{% endwith %}", "{% with x=1 y %}x{% endwith %}", "{% with a.b=1 %}x{% endwith %}", "{% with x=1 %}x", "{% with word as x y %}{% endwith %}", "{% with x = 1 %}{% endwith %}", "{% with x=1 x=2 %}{{ x }}{% endwith %}",
             "{% with x=rows.0 %}{{ x.name }}{% with x=x.s %}{{ x.k }}{% endwith %}{{ x.name }}{% endwith %}", "{% with word as x and %}{{ x }}{% endwith %}", "{% with 1 as x and 2 as x %}{{ x }}{% endwith %}", "{% with é=1 %}{{ é }}{% endwith %}", "{% with x='=' %}{{ x }}{% endwith %}", "{% with x=miss.y|default:'d' %}{{ x }}{% endwith %}"],
    "invalid": ["{% %}", "{%%}", "{% nosuch %}", "{% if one %}", "{% if one %}{% endfor %}", "{% endif %}", "{% else %}", "{% elif x %}", "{% if one %}{% else %}{% elif x %}{% endif %}", "{% if one %}{% else %}{% else %}{% endif %}", "{% if one %}a{% elsif %}{% endif %}", "{% if one %}{% elif %}{% endif %}", "{% if one %}a{% endif x %}", "{% if one %}a{% else x %}b{% endif %}", "{% if one %}a{% elifx one %}b{% endif %}", "{% if\none %}a{% endif %}", "{%if one%}a{%endif%}", "{% if one %}{% if zero %}a{% else %}b{% endif %}{% else %}c{% endif %}", "{% if 'a b' == 'a b' %}x{% endif %}", "{% if word|default:'a b' %}x{% endif %}", "{{ _('a b }}", "{% if _('a b') %}x{% endif %}", "{% if _('a b %}x{% endif %}", "{% IF one %}{% ENDIF %}"],
}


def string_if_invalid():
    for s in ("INVALID", "<%s>", "x%sy"):
        for t in ("{{ miss }}", "{{ miss|upper }}", "{{ miss.a.b|default:'x' }}", "{{ map.z }}", "{% if miss %}T{% else %}F{% endif %}", "{% for x in miss %}a{% empty %}b{% endfor %}", "{% with x=miss %}{{ x }}{% endwith %}", "{% firstof miss miss %}", "{% cycle miss 'a' %}", "{{ word|add:miss }}", "{% ifchanged miss %}T{% endifchanged %}", "{% widthratio miss 1 1 %}", "{{ word.replace }}", "{% regroup miss by x as g %}{{ g }}", "{{ none }}{{ none.x }}"):
            yield t, ["map", "word", "none"], {"string_if_invalid": s}


def tables():
    """Yield (file, iterator of cases)."""
    for name in FILTERS:
        yield "filter_" + name, filter_cases(name)
    for name, templates in TAGS.items():
        if templates:
            yield "tag_" + name, ((t, ALL, {}) for t in templates)
    yield "tag_if", expressions()
    yield "operator", operators()
    yield "attribute", attributes()
    yield "casing", casing()
    yield "numeral", numerals()
    yield "lazy", lazy()
    yield "string_if_invalid", string_if_invalid()
