package resolve

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// pointer is a JSON pointer (RFC 6901), taken apart; nil = none.
type pointer []string

func parsePointer(s string) (pointer, error) {
	if s == "" {
		return nil, nil
	}
	if s[0] != '/' {
		return nil, errors.New("must begin with /, as in /data/token")
	}
	var p pointer
	for step := range strings.SplitSeq(s[1:], "/") {
		for rest := step; ; {
			i := strings.IndexByte(rest, '~')
			if i < 0 {
				break
			}
			if rest = rest[i+1:]; rest == "" || rest[0] != '0' && rest[0] != '1' {
				return nil, errors.New("~ must be followed by 0 (which means ~) or 1 (which means /)")
			}
		}
		p = append(p, strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~"))
	}
	return p, nil
}

// find gives the string, number or boolean that p points to. Errors name steps of p and
// nothing of text.
func (p pointer) find(text string) (string, error) {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return "", errors.New("what the provider gives is no JSON, into which pointer could point")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return "", errors.New("what the provider gives is more than one JSON value")
	}
	for i, step := range p {
		at := "/" + strings.Join(p[:i+1], "/")
		var ok bool
		switch x := v.(type) {
		case map[string]any:
			v, ok = x[step]
		case []any:
			n, err := strconv.ParseUint(step, 10, 31)
			if ok = err == nil && int(n) < len(x) && strconv.FormatUint(n, 10) == step; ok {
				v = x[n]
			}
		}
		if !ok {
			return "", fmt.Errorf("what the provider gives has no %s", at)
		}
	}
	switch x := v.(type) {
	case string:
		return x, nil
	case json.Number:
		return string(x), nil
	case bool:
		return strconv.FormatBool(x), nil
	case nil:
		return "", errors.New("pointer points to null")
	default:
		return "", errors.New("pointer points to an object or a list; it must be a string, a number or a boolean")
	}
}
