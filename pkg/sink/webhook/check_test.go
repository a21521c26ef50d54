package webhook

import (
	"fmt"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	many := map[string]any{}
	for i := range 65 {
		many[fmt.Sprintf("X-%d", i)] = "v"
	}
	tests := []struct {
		name   string
		params map[string]any
		want   string // fields and codes
	}{
		{"good", map[string]any{"url": "https://h/x", "http_method": "POST", "headers": map[string]any{"X-A": "b", "Authorization": "Bearer {{ a.b }}"}}, ""},
		{"templates", map[string]any{"url": "https://h/{{ instance.id }}/{% if a %}b{% endif %}?q={{ instance.name|urlencode }}", "headers": map[string]any{"X": "{{ a }}"}}, ""},
		{"no url", map[string]any{}, "parameters/url required"},
		{"null url", map[string]any{"url": nil}, "parameters/url required"},
		{"url of another type", map[string]any{"url": 5}, "parameters/url required"},
		{"template in host", map[string]any{"url": "https://{{ instance.host }}/"}, "parameters/url invalid"},
		{"template in scheme", map[string]any{"url": "{{ a }}://h/"}, "parameters/url invalid"},
		{"template for all", map[string]any{"url": "{{ a }}"}, "parameters/url invalid"},
		{"template in port", map[string]any{"url": "https://h:{{ p }}/"}, "parameters/url invalid"},
		{"unclosed", map[string]any{"url": "https://h/{{ a b"}, "parameters/url invalid"},
		{"scheme", map[string]any{"url": "ftp://h/"}, "parameters/url invalid"},
		{"no host", map[string]any{"url": "https:///x"}, "parameters/url invalid"},
		{"method", map[string]any{"url": "https://h/", "http_method": "HEAD"}, "parameters/http_method invalid"},
		{"method of another type", map[string]any{"url": "https://h/", "http_method": 5}, "parameters/http_method invalid"},
		{"lower case", map[string]any{"url": "https://h/", "http_method": "post"}, "parameters/http_method invalid"},
		{"headers of another type", map[string]any{"url": "https://h/", "headers": []any{"x"}}, "parameters/headers invalid"},
		{"reserved", map[string]any{"url": "https://h/", "headers": map[string]any{"hOST": "x", "Content-Length": "1", "Webhook-Id": "1", "connection": "x", "TE": "x"}}, "parameters/headers/Content-Length not_allowed,parameters/headers/TE not_allowed,parameters/headers/Webhook-Id not_allowed,parameters/headers/connection not_allowed,parameters/headers/hOST not_allowed"},
		{"names", map[string]any{"url": "https://h/", "headers": map[string]any{"": "x", "X A": "x", "X/~": "y", "é": "z"}}, "parameters/headers/ invalid,parameters/headers/X A invalid,parameters/headers/X~1~0 invalid,parameters/headers/é invalid"},
		{"twice", map[string]any{"url": "https://h/", "headers": map[string]any{"X-A": "x", "x-a": "y"}}, "parameters/headers/x-a invalid"},
		{"values", map[string]any{"url": "https://h/", "headers": map[string]any{"A": "x\r\ny", "B": 5, "C": "\x00"}}, "parameters/headers/A invalid,parameters/headers/B invalid,parameters/headers/C invalid"},
		{"many", map[string]any{"url": "https://h/", "headers": many}, "parameters/headers invalid"},
		{"large", map[string]any{"url": "https://h/", "headers": map[string]any{"A": strings.Repeat("x", 17<<10)}}, "parameters/headers invalid"},
		{"ours", map[string]any{"url": "https://h/", "headers": map[string]any{"Waltrigger-Test": "true"}}, "parameters/headers/Waltrigger-Test not_allowed"},
		{"secrets", map[string]any{"url": "https://h/", "secret": []string{secret(24, "a"), "{{ a.b }}", secret(64, "b")}}, ""},
		{"bad secrets", map[string]any{"url": "https://h/", "secret": []string{secret(24, "a"), "x", "whsec_{{ a.b }}", "whsk_x"}}, "parameters/secret/1 invalid,parameters/secret/3 invalid"},
		{"all at once", map[string]any{"url": "x", "http_method": "X", "headers": map[string]any{"Host": "x"}}, "parameters/url invalid,parameters/http_method invalid,parameters/headers/Host not_allowed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, p := range Kind.Check(nil, tt.params) {
				got = append(got, p.Field+" "+p.Code)
				if p.Detail == "" {
					t.Errorf("%s: no detail", p.Field)
				}
			}
			if s := strings.Join(got, ","); s != tt.want {
				t.Errorf("got %q, want %q", s, tt.want)
			}
		})
	}
}
