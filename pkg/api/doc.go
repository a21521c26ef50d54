// Package api serves the admin API and the listener for probes and metrics. It reads
// and answers HTTP; what a trigger means is decided behind the interfaces of deps.go.
package api
