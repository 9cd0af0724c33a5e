package mongotest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

const (
	setName   = "candela"
	dirPrefix = "candela-mongod-"
)

// Server is a mongod process with a data folder of its own.
type Server struct {
	bin, dir string
	port     int
	cache    float64  // gigabytes
	lock     *os.File // held while this process lives, so that others know the folder is in use

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
}

// Start starts a mongod in a temporary folder, makes it a replica set of one
// and waits until it takes writes. Own is what a test wants; Start is for
// programs that have no testing.TB. Call Remove.
func Start() (*Server, error) { return start(setName, cacheUsual) }

// StartAlone starts a mongod that is no replica set.
func StartAlone() (*Server, error) { return start("", cacheUsual) }

// The gigabytes of cache that a server has; a small one is the least that
// mongod takes.
const (
	cacheUsual = 0.5
	cacheSmall = 0.25
)

func start(set string, cache float64) (*Server, error) {
	bin, err := binary()
	if err != nil {
		return nil, err
	}
	sweep()
	var s *Server
	for range 3 { // a free port can be taken by another process before mongod binds it
		if s, err = launch(bin, set, cache); err == nil {
			return s, nil
		}
	}
	return nil, err
}

func launch(bin, set string, cache float64) (*Server, error) {
	dir, err := os.MkdirTemp("", dirPrefix)
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, dir: dir, cache: cache}
	if s.lock, err = lockFile(filepath.Join(dir, "owner"), false); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if s.port, err = freePort(); err == nil {
		err = s.run(set)
	}
	if err == nil && set != "" {
		err = s.initiate()
	}
	if err != nil {
		s.Remove()
		return nil, err
	}
	return s, nil
}

// Base is the connection string without a database.
func (s *Server) Base() string {
	return fmt.Sprintf("mongodb://127.0.0.1:%d/?replicaSet=%s", s.port, setName)
}

// Host is "address:port".
func (s *Server) Host() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// Dir is the data folder.
func (s *Server) Dir() string { return s.dir }

// PID is the process id, 0 when it does not run.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd == nil {
		return 0
	}
	return s.cmd.Process.Pid
}

// Kill ends mongod as a power cut does (SIGKILL); its data stays.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Stop ends mongod cleanly; its data stays.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

// Pause stops mongod's clock (SIGSTOP), as a hung machine does, until Resume.
// It returns when mongod no longer answers: a busy machine takes a moment.
func (s *Server) Pause() {
	s.signal(syscall.SIGSTOP)
	for range 200 {
		if !s.running() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Resume ends a Pause.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

// Restart starts a killed or stopped mongod again on the same port and data,
// and waits until it takes writes.
func (s *Server) Restart() error {
	if err := s.run(setName); err != nil {
		return err
	}
	return s.waitPrimary()
}

// Remove kills mongod and deletes its data.
func (s *Server) Remove() {
	s.Kill()
	_ = os.RemoveAll(s.dir)
	_ = s.lock.Close()
}

func (s *Server) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(sig)
	}
}

func (s *Server) end(sig syscall.Signal) {
	s.signal(sig)
	s.mu.Lock()
	exited := s.exited
	s.cmd = nil
	s.mu.Unlock()
	if exited != nil {
		<-exited
	}
}

// run starts the process and waits until it listens. The goroutine that starts
// it keeps its thread, because Linux ends the child when that thread ends.
func (s *Server) run(set string) error {
	cmd := exec.Command(s.bin, s.args(set)...)
	cmd.SysProcAttr = childAttr()
	started, exited := make(chan error, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer close(exited)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	s.mu.Lock()
	s.cmd, s.exited = cmd, exited
	s.mu.Unlock()
	return s.waitListening(exited)
}

// args asks for a small server. The journal stays on; the test commands give failpoints.
func (s *Server) args(set string) []string {
	args := []string{
		"--dbpath", s.dir, "--port", strconv.Itoa(s.port), "--bind_ip", "127.0.0.1",
		"--wiredTigerCacheSizeGB", strconv.FormatFloat(s.cache, 'f', -1, 64), "--nounixsocket",
		"--logpath", filepath.Join(s.dir, "mongod.log"), "--logappend",
		"--setParameter", "diagnosticDataCollectionEnabled=false",
		"--setParameter", "enableTestCommands=1",
	}
	if set != "" {
		args = append(args, "--replSet", set, "--oplogSize", "256")
	}
	return args
}

func (s *Server) waitListening(exited <-chan struct{}) error {
	deadline := time.Now().Add(60 * time.Second)
	for time.Now().Before(deadline) {
		c, err := net.DialTimeout("tcp", s.Host(), time.Second)
		if err == nil {
			return c.Close()
		}
		select {
		case <-exited:
			return fmt.Errorf("mongod ended at once (on Debian 12 it needs libcurl4): %s", s.tail())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("mongod does not listen on %s: %s", s.Host(), s.tail())
}

// tail is the end of mongod's log.
func (s *Server) tail() string {
	log, err := os.ReadFile(filepath.Join(s.dir, "mongod.log"))
	if err != nil {
		return "no log"
	}
	return string(bytes.TrimSpace(log[max(0, len(log)-2000):]))
}

func (s *Server) initiate() error {
	config := bson.D{
		{Key: "_id", Value: setName},
		{Key: "members", Value: bson.A{bson.D{{Key: "_id", Value: 0}, {Key: "host", Value: s.Host()}}}},
		{Key: "settings", Value: bson.D{{Key: "electionTimeoutMillis", Value: 1000}}},
	}
	if err := s.admin(bson.D{{Key: "replSetInitiate", Value: config}}, nil); err != nil {
		return err
	}
	return s.waitPrimary()
}

func (s *Server) waitPrimary() error {
	deadline := time.Now().Add(60 * time.Second)
	for time.Now().Before(deadline) {
		var hello struct {
			Primary bool `bson:"isWritablePrimary"`
		}
		if err := s.admin(bson.D{{Key: "hello", Value: 1}}, &hello); err == nil && hello.Primary {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("no primary on %s: %s", s.Host(), s.tail())
}

// FailPoint sets one of mongod's failpoints, as {configureFailPoint: name, mode, data}.
func (s *Server) FailPoint(name string, mode, data bson.D) error {
	cmd := bson.D{{Key: "configureFailPoint", Value: name}, {Key: "mode", Value: mode}}
	if data != nil {
		cmd = append(cmd, bson.E{Key: "data", Value: data})
	}
	return s.admin(cmd, nil)
}

func (s *Server) admin(cmd bson.D, reply any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := mongo.Connect(options.Client().SetHosts([]string{s.Host()}).SetDirect(true))
	if err != nil {
		return err
	}
	defer func() { _ = c.Disconnect(ctx) }()
	res := c.Database("admin").RunCommand(ctx, cmd)
	if reply != nil {
		return res.Decode(reply)
	}
	return res.Err()
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return 0, errors.Join(errors.New("no TCP address"), l.Close())
	}
	return addr.Port, l.Close()
}

// sweep deletes data folders whose test process was killed before it could.
func sweep() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	for _, dir := range dirs {
		if l, err := lockFile(filepath.Join(dir, "owner"), false); err == nil {
			_ = os.RemoveAll(dir)
			_ = l.Close()
		}
	}
}
