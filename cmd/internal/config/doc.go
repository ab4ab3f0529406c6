// Package config reads the configuration: defaults, then the TOML file, then
// the files of conf.d beside it. reference.toml describes every key.
package config
