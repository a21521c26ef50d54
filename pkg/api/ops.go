package api

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// NewOps makes the server of /livez, /readyz and /metrics, which asks for no token and
// tells no secrets. ready says what readiness consists of at the moment.
func NewOps(listen string, ready func(ctx context.Context) []Ready, metrics prometheus.Gatherer, log *slog.Logger) *Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { readyz(w, r, ready(r.Context())) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{MaxRequestsInFlight: 8, ErrorLog: promLog{log}}))
	return newServer(listen, mux, log)
}

// promLog takes the errors of gathering.
type promLog struct{ log *slog.Logger }

func (l promLog) Println(v ...any) { l.log.Warn("gather metrics", "error", fmt.Sprint(v...)) }

func readyz(w http.ResponseWriter, r *http.Request, checks []Ready) {
	status, text := http.StatusOK, "ok"
	for _, c := range checks {
		if !c.OK && !c.Informative {
			status, text = http.StatusServiceUnavailable, "not ready"
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	if !r.URL.Query().Has("verbose") {
		w.WriteHeader(status)
		fmt.Fprintln(w, text)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"status": text, "checks": checks}) //nolint:errcheck // the client has gone
}
