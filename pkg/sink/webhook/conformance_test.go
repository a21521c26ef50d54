package webhook

import (
	"testing"

	"github.com/waltrigger/waltrigger/pkg/sink/sinktest"
)

func TestConformance(t *testing.T) {
	r := sinktest.NewReceiver(t)
	sinktest.Run(t, sinktest.Harness{
		Kind:     Kind,
		Params:   map[string]string{"url": r.URL + "/hooks/s3cretpath?key=s3cretquery", "http_method": "POST"},
		Received: r.Received,
		Restart:  r.Restart,
		Secrets:  []string{"s3cret"},
		MaxBody:  4 << 20,
	})
}
