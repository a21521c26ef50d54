package template

import (
	"math/rand/v2"
	"strings"
)

// loremText is the standard paragraph; its words are the stock of the random ones.
const loremText = "Lorem ipsum dolor sit amet, consectetur adipisicing elit, sed do eiusmod " +
	"tempor incididunt ut labore et dolore magna aliqua. Ut enim ad minim veniam, quis nostrud " +
	"exercitation ullamco laboris nisi ut aliquip ex ea commodo consequat. Duis aute irure dolor " +
	"in reprehenderit in voluptate velit esse cillum dolore eu fugiat nulla pariatur. Excepteur " +
	"sint occaecat cupidatat non proident, sunt in culpa qui officia deserunt mollit anim id est laborum."

// loremWords is how many words {% lorem n w %} begins with before they are random.
const loremWords = 19

// lorem makes placeholder text.
type lorem struct {
	st     *state
	common bool // begin with the standard text
	stock  []string
}

func (l *lorem) word() string {
	if l.stock == nil {
		l.stock = strings.Fields(strings.NewReplacer(",", "", ".", "").Replace(strings.ToLower(loremText)))
	}
	return l.stock[rand.IntN(len(l.stock))] //nolint:gosec // placeholder text
}

func (l *lorem) words(count int) error {
	var ws []string
	if l.common {
		ws = strings.Fields(strings.NewReplacer(",", "", ".", "").Replace(strings.ToLower(loremText)))[:loremWords]
	}
	if count <= len(ws) {
		if count < 0 {
			count = max(len(ws)+count, 0) // Python's slice
		}
		ws = ws[:count]
	}
	for len(ws) < count {
		if err := l.st.spend(1); err != nil {
			return err
		}
		ws = append(ws, l.word())
	}
	l.st.out = append(l.st.out, strings.Join(ws, " ")...)
	return nil
}

func (l *lorem) paragraph(i int) (string, error) {
	if err := l.st.spend(1); err != nil {
		return "", err
	}
	if l.common && i == 0 {
		return loremText, nil
	}
	sentences := make([]string, 1+rand.IntN(4)) //nolint:gosec // placeholder text
	for i := range sentences {
		ws := make([]string, 3+rand.IntN(10)) //nolint:gosec // placeholder text
		for j := range ws {
			ws[j] = l.word()
		}
		sentences[i] = capFirst(strings.Join(ws, " ")) + "."
	}
	return strings.Join(sentences, " "), nil
}
