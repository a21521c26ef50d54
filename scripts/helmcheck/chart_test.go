// Package helmcheck checks config/helm/waltrigger with Helm's own code: lint in its
// strict form, rendering with several sets of values, the values' schema, and a
// decoding of every object that refuses unknown fields. It is a module of its own so
// that the product does not depend on Kubernetes.
package helmcheck

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"
)

const chartDir = "../../config/helm/waltrigger"

// valueFiles are the sets of values in testdata, each with the objects it must give.
var valueFiles = map[string][]string{
	"minimal.yaml": {"ConfigMap", "Pod", "Service", "ServiceAccount", "StatefulSet"},
	"full.yaml": {
		"ConfigMap", "ConfigMap", "ConfigMap", "NetworkPolicy", "Pod", "PodDisruptionBudget", "PrometheusRule",
		"Service", "ServiceAccount", "ServiceMonitor", "StatefulSet",
	},
	"ephemeral.yaml": {"ConfigMap", "Pod", "Service", "StatefulSet"},
}

func readValues(t *testing.T, file string) map[string]any {
	t.Helper()
	v, err := chartutil.ReadValuesFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// render gives the files of the chart with these values, NOTES.txt among them.
func render(t *testing.T, c *chart.Chart, values map[string]any) (map[string]string, error) {
	t.Helper()
	all, err := chartutil.ToRenderValues(c, values, chartutil.ReleaseOptions{
		Name: "rel", Namespace: "ns", Revision: 1, IsInstall: true,
	}, nil)
	if err != nil {
		return nil, err
	}
	return engine.Render(c, all)
}

func load(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLintStrict(t *testing.T) {
	for file := range valueFiles {
		t.Run(file, func(t *testing.T) {
			for _, m := range lint.All(chartDir, readValues(t, file), "ns", true).Messages {
				if m.Severity >= support.WarningSev {
					t.Error(m)
				}
			}
		})
	}
}

func TestObjectsDecodeStrictly(t *testing.T) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		appsv1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme, monitoring.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	for file, want := range valueFiles {
		t.Run(file, func(t *testing.T) {
			var kinds []string
			for _, doc := range documents(t, file) {
				obj, kind, err := decoder.Decode(doc, nil, nil)
				if err != nil {
					t.Errorf("decode: %v\n%s", err, doc)
					continue
				}
				kinds = append(kinds, kind.Kind)
				if s, ok := obj.(*appsv1.StatefulSet); ok {
					checkLockedDown(t, s)
				}
			}
			slices.Sort(kinds)
			if !slices.Equal(kinds, want) {
				t.Errorf("kinds %v, want %v", kinds, want)
			}
		})
	}
	// The decoder does refuse what the API server would silently drop.
	_, _, err := decoder.Decode([]byte("apiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, imagePullPolcy: Always}]}"), nil, nil)
	if err == nil {
		t.Error("an unknown field was accepted")
	}
}

// documents renders the chart with a file of values and splits it into objects.
func documents(t *testing.T, file string) [][]byte {
	t.Helper()
	files, err := render(t, load(t), readValues(t, file))
	if err != nil {
		t.Fatal(err)
	}
	var docs [][]byte
	for name, text := range files {
		if strings.HasSuffix(name, "NOTES.txt") {
			continue
		}
		r := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
		for {
			doc, err := r.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if len(strings.TrimSpace(string(doc))) > 0 {
				docs = append(docs, doc)
			}
		}
	}
	return docs
}

func checkLockedDown(t *testing.T, s *appsv1.StatefulSet) {
	t.Helper()
	pod := s.Spec.Template.Spec
	if len(pod.TopologySpreadConstraints) == 0 && *s.Spec.Replicas > 1 {
		t.Error("several replicas may share a node")
	}
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		t.Error("the service account's token is mounted")
	}
	if p := pod.SecurityContext; p == nil || p.RunAsNonRoot == nil || !*p.RunAsNonRoot || p.SeccompProfile == nil ||
		p.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("pod security context %+v", p)
	}
	c := pod.Containers[0]
	if x := c.SecurityContext; x == nil || x.ReadOnlyRootFilesystem == nil || !*x.ReadOnlyRootFilesystem ||
		x.AllowPrivilegeEscalation == nil || *x.AllowPrivilegeEscalation || x.Capabilities == nil ||
		!slices.Equal(x.Capabilities.Drop, []corev1.Capability{"ALL"}) {
		t.Errorf("container security context %+v", x)
	}
	if c.LivenessProbe == nil || c.ReadinessProbe == nil || c.StartupProbe == nil {
		t.Error("a probe is missing")
	}
	volumes := map[string]bool{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
	}
	for _, v := range s.Spec.VolumeClaimTemplates {
		volumes[v.Name] = true
	}
	for _, m := range c.VolumeMounts {
		if !volumes[m.Name] {
			t.Errorf("mount %s has no volume", m.Name)
		}
	}
}

func TestSchemaRefuses(t *testing.T) {
	tests := []struct{ name, values, want string }{
		{"misspelt top level", "replicaCount: 2", "replicaCount"},
		{"several on SQLite", "replicas: 2", "replicas: several instances need a store that they share"},
		{"none", "replicas: 0", "replicas"},
		{"misspelt below", "image: {repositry: x}", "repositry"},
		{"wrong type", "service: {adminPort: eighty}", "adminPort"},
		{"port out of range", "service: {adminPort: 70000}", "adminPort"},
		{"no source", "config: {sources: []}", "sources"},
		{"source without url", "config: {sources: [{name: a}]}", "url"},
		{"source name", "config: {sources: [{name: 'a b', url: x}]}", "name"},
		{"unknown section", "config: {sinks: {}}", "sinks"},
		{"listen elsewhere than the probes ask", "config: {ops: {listen: '0.0.0.0:1'}}", "ops"},
		{"shared volume", "persistence: {accessModes: [ReadWriteMany]}", "accessModes"},
		{"digest", "image: {digest: latest}", "digest"},
		{"trigger file name", "triggers: {'../x.yaml': []}", "x.yaml"},
		{"broker without type", "config: {brokers: {b: {}}}", "broker_type"},
		{"no secret", "existingSecret: ''", "existingSecret"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			values := readValues(t, "minimal.yaml")
			more := map[string]any{}
			if err := sigsyaml.Unmarshal([]byte(tt.values), &more); err != nil {
				t.Fatal(err)
			}
			_, err := render(t, load(t), chartutil.CoalesceTables(more, values))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one that names %q", err, tt.want)
			}
		})
	}
}

func TestConfigFile(t *testing.T) {
	for file := range valueFiles {
		t.Run(file, func(t *testing.T) {
			var text string
			for _, doc := range documents(t, file) {
				var m struct {
					Kind string
					Data map[string]string
				}
				if err := sigsyaml.Unmarshal(doc, &m); err != nil {
					t.Fatal(err)
				}
				if c, ok := m.Data["waltrigger.yaml"]; ok {
					text = c
				} else if m.Kind == "ConfigMap" {
					keepTriggers(t, m.Data)
				}
			}
			var c map[string]any
			if err := sigsyaml.UnmarshalStrict([]byte(text), &c); err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			if c["sources"] == nil || c["store"] == nil {
				t.Errorf("configuration lacks sources or store:\n%s", text)
			}
			// Kept for the product, which scripts/helm.sh asks about it.
			if dir := os.Getenv("HELMCHECK_OUT"); dir != "" {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// keepTriggers checks trigger files and keeps them beside the configuration.
func keepTriggers(t *testing.T, files map[string]string) {
	t.Helper()
	for name, text := range files {
		if !strings.HasSuffix(name, ".yaml") {
			continue
		}
		var list []map[string]any
		if err := sigsyaml.UnmarshalStrict([]byte(text), &list); err != nil || len(list) == 0 {
			t.Errorf("%s is no list of triggers (%v):\n%s", name, err, text)
		}
		if dir := os.Getenv("HELMCHECK_OUT"); dir != "" {
			if err := os.WriteFile(filepath.Join(dir, "triggers", name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestNotes(t *testing.T) {
	files, err := render(t, load(t), readValues(t, "full.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	notes := files["waltrigger/templates/NOTES.txt"]
	for _, want := range []string{
		"pg_drop_replication_slot('waltrigger_shop_eu')", "pg_drop_replication_slot('billing_slot')",
		"CREATE PUBLICATION waltrigger_shop_eu", "DROP PUBLICATION billing_pub", "wal_level = logical", "helm test rel",
	} {
		if !strings.Contains(notes, want) {
			t.Errorf("NOTES.txt lacks %q:\n%s", want, notes)
		}
	}
	if m := regexp.MustCompile(`<no value>|%!`).FindString(notes); m != "" {
		t.Errorf("NOTES.txt holds %q", m)
	}
}
