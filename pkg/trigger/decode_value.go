package trigger

import (
	"fmt"
	"slices"
	"strings"
)

// choose reads one of a few words.
func choose[T ~string](d *decoder, n *node, ptr string, into *T, of []string) {
	var s string
	if !d.text(n, ptr, &s, maxTemplate) {
		return
	}
	if !slices.Contains(of, s) {
		d.add(ptr, CodeInvalid, "is not one of %s", strings.Join(of, ", "))
		return
	}
	*into = T(s)
}

// columns reads names of columns or relations.
func (d *decoder) columns(n *node, ptr string, into *[]string) {
	for i, item := range d.list(n, ptr, false) {
		at, s := fmt.Sprintf("%s/%d", ptr, i), ""
		switch ok := d.text(&item, at, &s, maxName); {
		case ok && s == "":
			d.add(at, CodeRequired, "may not be empty")
		case ok:
			*into = append(*into, s)
		}
	}
}

// secrets reads one secret or several.
func (d *decoder) secrets(n *node, ptr string, into *Secrets) {
	items := []node{*n}
	if n.kind == kindArray {
		into.Listed = true
		if items = n.items; len(items) == 0 {
			d.add(ptr, CodeRequired, "may not be empty")
		}
	}
	if len(items) > maxSecrets {
		d.add(ptr, CodeTooMany, "has more than %d secrets", maxSecrets)
		return
	}
	for i := range items {
		at, s := ptr, ""
		if into.Listed {
			at = fmt.Sprintf("%s/%d", ptr, i)
		}
		if d.text(&items[i], at, &s, maxTemplate) && s == "" {
			d.add(at, CodeRequired, "may not be empty")
		}
		into.Values = append(into.Values, s)
	}
}
