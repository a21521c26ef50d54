package helmcheck

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var metric = regexp.MustCompile(`\bwaltrigger_[a-z_]+\b`)

// TestMetricsExist keeps dashboards and alerts from naming metrics that the product
// does not have.
func TestMetricsExist(t *testing.T) {
	known := map[string]bool{}
	err := filepath.WalkDir("../../pkg", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`"waltrigger_[a-z_]+"`).FindAllString(string(text), -1) {
			known[strings.Trim(m, `"`)] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	dashboard, err := os.ReadFile(chartDir + "/dashboards/waltrigger.json")
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(dashboard) {
		t.Error("the dashboard is no JSON")
	}
	rule, err := os.ReadFile(chartDir + "/templates/prometheusrule.yaml")
	if err != nil {
		t.Fatal(err)
	}
	used := metric.FindAllString(string(dashboard)+string(rule), -1)
	if len(used) == 0 {
		t.Fatal("no metric is named")
	}
	for _, m := range used {
		base := m
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			base = strings.TrimSuffix(base, suffix)
		}
		if !known[m] && !known[base] {
			t.Errorf("%s is not registered anywhere below pkg", m)
		}
	}
}
