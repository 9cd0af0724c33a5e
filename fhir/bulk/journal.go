package bulk

import (
	"bufio"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// Journal remembers which parts of which files were acknowledged, so that an
// interrupted load goes on where it stopped. It is a text file, one line a part.
type Journal struct {
	mu   sync.Mutex
	file *os.File
	done map[mark]bool
}

type mark struct {
	Source string `json:"source"`
	Mark   string `json:"mark"`
	Part   int    `json:"part"`
}

// OpenJournal opens or creates the journal at path; fresh forgets what it holds.
func OpenJournal(path string, fresh bool) (*Journal, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	j := &Journal{done: map[mark]bool{}}
	if !fresh {
		if err := j.read(path); err != nil {
			return nil, err
		}
	}
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if fresh {
		flags |= os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, err
	}
	j.file = f
	_, err = f.WriteString("\n") // ends a line that a crash tore
	return j, err
}

func (j *Journal) read(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read from
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var m mark
		if json.Unmarshal(lines.Bytes(), &m) == nil { // a torn last line is a part not done
			j.done[m] = true
		}
	}
	return lines.Err()
}

// Done says whether a part was acknowledged before. A nil Journal remembers nothing.
func (j *Journal) Done(s source, part int) bool {
	if j == nil {
		return false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.done[mark{s.name, s.mark, part}]
}

// Add remembers a part.
func (j *Journal) Add(s source, part int) error {
	if j == nil {
		return nil
	}
	m := mark{s.name, s.mark, part}
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.done[m] = true
	_, err = j.file.Write(append(line, '\n'))
	return err
}

// Close closes the file.
func (j *Journal) Close() error {
	if j == nil || j.file == nil {
		return nil
	}
	return j.file.Close()
}
