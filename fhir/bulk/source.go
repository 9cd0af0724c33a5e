package bulk

import (
	"archive/zip"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// source is one file to load, or one member of a zip archive.
type source struct {
	name  string // path, or path!member: what messages and the journal call it
	mark  string // size and modification time: a changed file is loaded again
	lines bool   // NDJSON
	open  func() (io.ReadCloser, error)
}

// sources lists all loadable files below the paths, sorted by name.
func sources(paths []string) ([]source, error) {
	var out []source
	for _, root := range paths {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() {
				return nil
			}
			found, err := fromFile(path, d, path == root)
			out = append(out, found...)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", root, err)
		}
	}
	slices.SortStableFunc(out, func(a, b source) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

func fromFile(path string, d fs.DirEntry, named bool) ([]source, error) {
	info, err := d.Info()
	if err != nil {
		return nil, err
	}
	mark := fmt.Sprintf("%d@%d", info.Size(), info.ModTime().UnixNano())
	if strings.HasSuffix(path, ".zip") {
		return fromZip(path, mark)
	}
	plain := strings.TrimSuffix(path, ".gz")
	switch filepath.Ext(plain) {
	case ".json", ".ndjson":
	default:
		if named {
			return nil, fmt.Errorf("%s: not a .json, .ndjson, .zip or .gz of them", path)
		}
		return nil, nil
	}
	open := func() (io.ReadCloser, error) { return openFile(path) }
	return []source{{name: path, mark: mark, lines: filepath.Ext(plain) == ".ndjson", open: open}}, nil
}

func openFile(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if !strings.HasSuffix(path, ".gz") {
		return f, nil
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("not a gzip file: %w", err)
	}
	return both{z, f}, nil
}

// both reads from a decompressor and closes it with the file below.
type both struct {
	io.ReadCloser
	below io.Closer
}

func (b both) Close() error {
	err := b.ReadCloser.Close()
	if below := b.below.Close(); err == nil {
		err = below
	}
	return err
}

func fromZip(path, mark string) ([]source, error) {
	archive, err := zip.OpenReader(path)
	if err != nil {
		return nil, fmt.Errorf("%s: not a zip archive: %w", path, err)
	}
	defer func() { _ = archive.Close() }() // only read from
	var out []source
	for _, member := range archive.File {
		ext := filepath.Ext(member.Name)
		if member.FileInfo().IsDir() || (ext != ".json" && ext != ".ndjson") {
			continue
		}
		name := member.Name
		open := func() (io.ReadCloser, error) { return openMember(path, name) }
		out = append(out, source{name: path + "!" + name, mark: mark, lines: ext == ".ndjson", open: open})
	}
	return out, nil
}

func openMember(path, name string) (io.ReadCloser, error) {
	archive, err := zip.OpenReader(path)
	if err != nil {
		return nil, err
	}
	for _, member := range archive.File {
		if member.Name == name {
			f, err := member.Open()
			if err != nil {
				_ = archive.Close() // the open error says more
				return nil, err
			}
			return both{f, archive}, nil
		}
	}
	_ = archive.Close() // nothing was read from it
	return nil, fmt.Errorf("%s is no longer in the archive", name)
}

// leads says whether a source must be loaded before the others: bundles whose
// first entry is no Patient hold the organizations and practitioners that
// patient bundles point to by conditional references. Only the head is read.
func (s source) leads() (bool, error) {
	if s.lines {
		return false, nil
	}
	f, err := s.open()
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // only read from
	head := make([]byte, 64<<10)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return false, err
	}
	return !strings.Contains(firstTypes(string(head[:n])), "Patient"), nil
}

// firstTypes is the text between the first "entry" and a little behind the
// first resourceType after it, or the first resourceType of a lone resource.
func firstTypes(head string) string {
	if i := strings.Index(head, `"entry"`); i >= 0 {
		head = head[i:]
	}
	i := strings.Index(head, `"resourceType"`)
	if i < 0 {
		return ""
	}
	return head[i:min(len(head), i+40)]
}
