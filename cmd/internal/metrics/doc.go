// Package metrics shows the daemon to Prometheus: numbers about packets,
// sessions, pinholes and records, and never an address, a user or an id.
// docs/metrics.md explains each.
package metrics
