package main

import (
	"log/slog"
	"path/filepath"

	"ftpinhole/cmd/internal/config"
	"ftpinhole/cmd/internal/confine"
	"ftpinhole/cmd/internal/gateway"
)

// confineDaemon takes from the process what the daemon needs no more once all
// is open. The files that it still opens are those of a reload, of logrotate,
// of the trail and of rewritten sessions.
func confineDaemon(c config.Config, configPath string, log *slog.Logger) (confine.How, error) {
	files, err := config.Files(configPath)
	if err != nil {
		return confine.No, err
	}
	sockets := []string{c.Socket}
	if path, ok := c.MetricsSocket(); ok {
		sockets = append(sockets, path)
	}
	how, err := confine.Process(confine.Reach{
		Read:   append(directories(files...), "/proc"),
		Write:  append(directories(c.AuditLog), c.StateDir, gateway.SessionsDir(c)),
		Remove: directories(sockets...),
	})
	if err == nil && how != confine.Landlock {
		log.Info("the kernel has no landlock, or it is not enabled: what the daemon's user may open, the daemon may; it gave up all capabilities but CAP_NET_ADMIN")
	}
	return how, err
}

// directories are those that the files are in, and for symbolic links those
// that they lead to.
func directories(files ...string) []string {
	var all []string
	for _, file := range files {
		all = append(all, filepath.Dir(file))
		if target, err := filepath.EvalSymlinks(file); err == nil {
			all = append(all, filepath.Dir(target))
		}
	}
	return all
}
