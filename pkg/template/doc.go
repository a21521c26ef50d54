// Package template is the template language of Django, as close to Django 5.2 as a
// language without Python can be, and fast enough to run for every event of a database.
// It is compared with real Django on recorded cases (testdata/template) and on random
// templates (scripts/template/differential.sh).
//
// # Use
//
// Parse compiles a template once; Template.Append renders it with any number of
// goroutines at once and allocates only for loops and filters. ParseCondition
// compiles what stands in an {% if %} tag. Data is handed in through the interfaces
// Object, Keyed and List, without reflection; a Value can keep its canonical text, which
// is parsed only when a filter or a comparison looks at it. Paths tells which dotted
// paths a template can read, before it is ever rendered.
//
// # The language
//
// All built-in tags and filters, with Django's arguments, failures and safe strings:
// autoescape, comment, cycle, filter, firstof, for/empty, if/elif/else, ifchanged, lorem,
// now, regroup, resetcycle, spaceless, templatetag, verbatim, widthratio, with (both
// syntaxes where Django has two), and every filter of Django's defaultfilters. Texts and
// number formats are those of Django's default settings (en-us, no thousand separators);
// _("…") marks text and translates nothing.
//
// An exception that Django lets through is a RenderError with the exception's class;
// where Django prints nothing, so does this package.
//
// # What differs on purpose
//
// With Options.Django and Options.Autoescape set, only what is listed under "always"
// differs from Django.
//
// Unless Options.Autoescape is set:
//   - HTML is not escaped: a JSON payload must carry O'Brien. {% autoescape on %} turns
//     escaping on.
//
// Unless Options.Django is set:
//   - Dates and times print as ISO 8601 (RFC 3339), in {{ }} and as text in filters, as
//     the database's log spells them: 2024-03-09T21:00:00Z. |date and |time format them
//     as Django does, in Options.Location.
//   - JSON objects and arrays print as JSON, not as Python; so do objects and lists that
//     are JSONAppenders.
//   - A Decimal NaN or infinity prints; Django raises an exception.
//
// Always:
//   - The filter |json prints a value as JSON: numbers bare, decimals as strings (no digit
//     is lost), dates as RFC 3339, durations as ISO 8601.
//   - The tags load, include, extends, block, url, static, csrf_token, debug, querystring,
//     cache, the translation and the time zone tags are refused: templates cannot load
//     code or text, or reach a server.
//   - Data only. A name is a key, an attribute or an index. Of the attributes and methods
//     of Python's types there are those without side effects that templates use: of str
//     upper, lower, title, capitalize, strip, lstrip, rstrip, split, splitlines, isspace,
//     isascii; of dict keys, values, items, copy; of dates and times their fields, date,
//     time, isoformat, weekday, isoweekday, toordinal, timestamp, tzname, utcoffset; of
//     timedelta days, seconds, microseconds, total_seconds; of numbers real, imag,
//     numerator, denominator, conjugate, is_integer, bit_length, bit_count,
//     as_integer_ratio, and of Decimal is_finite, is_infinite, is_nan, is_signed, is_zero,
//     copy_abs, canonical. Methods that need arguments are StringIfInvalid, as in Django;
//     any other name does not exist.
//   - Limits: a template that nests too deeply or is too long does not parse; one that
//     takes too many steps, too much time or too much space fails with ErrBudget. Django
//     has none.
//   - `is` is identity for None, True, False, small integers, objects and lists; for other
//     values it holds if both are the same text in memory.
//   - {% lorem %} beyond the standard text and |random are random, with words of the
//     standard text. Binary values print as base64.
//   - {% with self=… %} and {% with context=… %}, an error in Django, work. In
//     StringIfInvalid, %s is the variable's name and no other % means anything. Printing
//     {{ forloop }} itself does not show what ifchanged remembers. Of two errors in one
//     block, the first is reported, where Django reports a filter block that gives a
//     number last.
//   - Text is UTF-8: a lone surrogate, which Python could hold, is U+FFFD. Tables of
//     Unicode are those of Go, which know characters that are younger than Python 3.11.
package template
