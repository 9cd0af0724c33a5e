package mongotest

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// childAttr makes the child end with its parent, however the parent ends.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// running says whether the process is neither stopped nor gone. The state
// follows its name, which stands in brackets.
func (s *Server) running() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.PID()))
	_, rest, ok := strings.Cut(string(stat), ") ")
	return err == nil && ok && !strings.HasPrefix(rest, "T")
}

// lockFile opens path and locks it until it is closed or the process ends.
func lockFile(path string, wait bool) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	how := syscall.LOCK_EX
	if !wait {
		how |= syscall.LOCK_NB
	}
	if err := syscall.Flock(int(f.Fd()), how); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
