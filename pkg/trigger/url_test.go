package trigger

import (
	"errors"
	"strings"
	"testing"

	"github.com/waltrigger/waltrigger/pkg/resolve"
	"github.com/waltrigger/waltrigger/pkg/sink"
)

// hookTo is a trigger with a webhook of that URL.
func hookTo(url string) string {
	return with(`"webhooks":[{"url":` + quoted(url) + `,"headers":{"A":"{{ instance.id }}"}}]`)
}

func quoted(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }

func TestURLTemplates(t *testing.T) {
	r, err := resolve.New(map[string]resolve.Config{
		"a.token": {Literal: "s3 cret/?&#"}, "a.bound": {Literal: "b0und", Hosts: []string{"good.example.com"}}, "a.dots": {Literal: ".."}, "a.lines": {Literal: "a\nb", Multiline: true},
	}, resolve.Env{Reserved: reserved})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	k := testCompiler(t)
	k.Resolver = r
	const good = "https://good.example.com"
	for _, c := range []struct{ url, note, want, code string }{
		{good + "/x?a=%20b", "n", good + "/x?a=%20b", ""},
		{good + "/{{ instance.id }}", "n", good + "/7", ""},
		{good + "/{{ instance.id }}/{{instance.id}}-{{ instance.note }}?n={{ instance.note }}&m=1", "n", good + "/7/7-n?n=n&m=1", ""},
		{good + "/{{ instance.note }}", "a/../b?c&d=e#f %\"é\n", good + "/a%2F..%2Fb%3Fc%26d%3De%23f%20%25%22%C3%A9%0A", ""},
		{good + "/{{ instance.note|upper }}", "a b", good + "/A%20B", ""},
		{good + "/{{ instance.note|urlencode }}", "a/b c", good + "/a/b%20c", ""},
		{good + "/{{ instance.note|urlencode:'' }}", "a/b c", good + "/a%2Fb%20c", ""},
		{good + `/{{ instance.nothing|default:"a|urlencode" }}`, "", good + "/a%7Curlencode", ""},
		{good + "/{{ instance.note|safe }}", "a/b", good + "/a%2Fb", ""},
		{good + "/{{ instance.note }}/x", "..", "", "url_invalid"},
		{good + "/{{ instance.note|urlencode }}/x", "y/../..", "", "url_invalid"},
		{good + "/x/{{ instance.note }}", ".", "", "url_invalid"},
		{good + "/../{{ instance.note }}", "...", good + "/../...", ""},
		{good + "?x={{ instance.note }}", "..", good + "?x=..", ""},
		{good + "/{{ a.token }}?k={{ a.token }}", "n", good + "/s3%20cret%2F%3F%26%23?k=s3%20cret%2F%3F%26%23", ""},
		{good + "/{{ a.bound }}/{{ instance.note }}", "{{ a.token }}", good + "/b0und/%7B%7B%20a.token%20%7D%7D", ""},
		{good + "/{{ a.dots }}/x", "n", "", "url_invalid"},
		{good + "/{{ instance.note }}", "", good + "/", ""},
	} {
		got, problems := k.Compile(&Record{Trigger: decoded(t, hookTo(c.url))})
		if len(problems) > 0 {
			t.Errorf("%s: %v", c.url, problems)
			continue
		}
		d := got.Destinations[0]
		rendered, err := d.Render(saleEvent("7", c.note))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			var m sink.Message
			err = d.Fill(t.Context(), &m, rendered)
			if e := (*sink.Error)(nil); c.code != "" && (!errors.As(err, &e) || e.Code != c.code) || c.code == "" && (err != nil || m.Params["url"] != c.want || m.Params["http_method"] != "POST" || m.Headers[0].Value != "7") {
				t.Errorf("%s with %q\ngot  %s, %v\nwant %s %s", c.url, c.note, m.Params["url"], err, c.want, c.code)
			}
		}
	}
	for _, c := range []struct{ url, want string }{
		{"https://evil.example.com/{{ a.bound }}", "not_allowed"},
		{"https://evil.example.com/?good.example.com&{{ a.bound }}", "not_allowed"},
		{good + "/{{ a.lines }}", "not_allowed"},
		{good + "/{{ a.other }}", "unknown"},
		{good + "/{{ instanc.id }}", "unknown"},
		{good + "/{{ a.token|upper }}", "not_allowed"},
		{good + "/{% if instance.id %}x{% endif %}", "template"},
		{good + "/{{ instance.id }}{% now 'Y' %}", "template"},
		{good + "/{{ instance.id", "template"},
		{good + "/{{ instance.id|nofilter }}", "template"},
		{good + "/{{ instance.note|iriencode }}", "template"},
		{good + "/{{ }}", "template"},
	} {
		_, problems := k.Compile(&Record{Trigger: decoded(t, hookTo(c.url))})
		if len(problems) != 1 || problems[0].Pointer != "/webhooks/0/url" || problems[0].Code != c.want || strings.Contains(problems[0].Detail, "s3") {
			t.Errorf("%s: %v, want %s", c.url, problems, c.want)
		}
	}
}

// TestURLCorrected: what waits goes to the URL as it is now, with the values that the row
// gave then.
func TestURLCorrected(t *testing.T) {
	k := testCompiler(t)
	compile := func(url string) *Destination {
		t.Helper()
		c, problems := k.Compile(&Record{Trigger: decoded(t, hookTo(url))})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		return c.Destinations[0]
	}
	rendered, err := compile("https://wrong.example.com/sails/{{ instance.id }}?n={{ instance.note }}").Render(saleEvent("7", "n"))
	if err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]string{
		"https://right.example.com/sales/{{instance.note}}/{{ instance.id }}": "https://right.example.com/sales/n/7",
		"https://right.example.com/all":                                       "https://right.example.com/all",
		"https://right.example.com/{{ a.token }}":                             "https://right.example.com/s3cret",
		"https://right.example.com/{{ instance.id }}/{{ event.id }}":          "",
	} {
		var m sink.Message
		err := compile(url).Fill(t.Context(), &m, rendered)
		if e := (*sink.Error)(nil); want == "" && (!errors.As(err, &e) || e.Class != sink.Misconfigured || !strings.Contains(err.Error(), "{{ event.id }}")) || want != "" && (err != nil || m.Params["url"] != want) {
			t.Errorf("%s: %s, %v, want %s", url, m.Params["url"], err, want)
		}
	}
	// The same as a header, rendered before the URL had values.
	rendered, err = compile("https://right.example.com/").Render(saleEvent("7", "n"))
	if err != nil {
		t.Fatal(err)
	}
	var m sink.Message
	if err := compile("https://right.example.com/{{ instance.id }}").Fill(t.Context(), &m, rendered); err == nil {
		t.Errorf("sent to %s", m.Params["url"])
	}
}
