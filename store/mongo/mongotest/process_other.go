//go:build !linux

package mongotest

import (
	"os"
	"syscall"
)

// childAttr asks for nothing special: Main ends the child.
func childAttr() *syscall.SysProcAttr { return nil }

// running is not known here: Pause waits its full time.
func (s *Server) running() bool { return true }

// lockFile opens path. Without locks two processes may both fetch the server;
// the rename keeps the result whole.
func lockFile(path string, _ bool) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
}
