package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestFigures(t *testing.T) {
	var w bytes.Buffer
	s := &summary{figures: true, out: map[string][]string{}, failedIn: map[string]bool{}, w: &w}
	in := `{"Action":"output","Package":"p","Test":"TestA","Output":"noise\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:12: 3 lost\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0.1}
`
	if err := s.read(strings.NewReader(in)); err != nil || w.String() != "TestA: 3 lost\n" {
		t.Errorf("%q, %v", w.String(), err)
	}
}

func TestSummary(t *testing.T) {
	const pass = `{"Action":"output","Package":"p","Test":"TestA","Output":"noise\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0.1}
{"Action":"pass","Package":"p","Elapsed":0.2}
`
	tests := []struct {
		name, in         string
		required         bool
		passed, bad      int
		contain, without string
	}{
		{"pass is quiet", pass, true, 1, 0, "ok  \tp\t", "noise"},
		{"fail shows its output", `{"Action":"output","Package":"p","Test":"TestB","Output":"why\n"}
{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p"}`, false, 0, 1, "why\n", ""},
		{"skip is harmless by default", `{"Action":"skip","Package":"p","Test":"TestC"}`, false, 0, 0, "SKIP\tp TestC", ""},
		{"skip fails when services are required", `{"Action":"skip","Package":"p","Test":"TestC"}`, true, 0, 1, "SKIP\tp TestC", ""},
		{"package without tests is no skip", `{"Action":"output","Package":"p","Output":"?   \tp\t[no test files]\n"}
{"Action":"skip","Package":"p"}`, true, 0, 0, "", "p"},
		{"build failure", `{"ImportPath":"p","Action":"build-output","Output":"x.go:1: bad\n"}
{"Action":"fail","Package":"p","FailedBuild":"p"}`, false, 0, 1, "x.go:1: bad", ""},
		{"other words pass through", "go: no such module\n", false, 0, 0, "go: no such module", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var w bytes.Buffer
			s := &summary{required: tt.required, out: map[string][]string{}, failedIn: map[string]bool{}, w: &w}
			if err := s.read(strings.NewReader(tt.in)); err != nil {
				t.Fatal(err)
			}
			if s.passed != tt.passed || s.bad() != tt.bad {
				t.Errorf("passed %d, bad %d; want %d, %d", s.passed, s.bad(), tt.passed, tt.bad)
			}
			if !strings.Contains(w.String(), tt.contain) {
				t.Errorf("output %q lacks %q", w.String(), tt.contain)
			}
			if tt.without != "" && strings.Contains(w.String(), tt.without) {
				t.Errorf("output %q has %q", w.String(), tt.without)
			}
		})
	}
}
