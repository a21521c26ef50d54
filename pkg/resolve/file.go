package resolve

import (
	"context"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

const (
	fileTTL  = 10 * time.Second
	fileSize = 64 << 10
)

// file is the path of a file, such as a mounted secret. Links are followed: that is
// how Kubernetes mounts secrets.
type file string

func (p file) given() bool         { return p != "" }
func (p file) check(*checker)      {}
func (p file) ttl() time.Duration  { return fileTTL }
func (p file) fetcher(Env) fetcher { return p }

func (p file) fetch(context.Context) (string, time.Time, error) {
	b, err := p.read()
	return withoutNewline(b), time.Time{}, err
}

func (p file) read() ([]byte, error) {
	// Without O_NONBLOCK opening a FIFO that nobody writes to would never return.
	f, err := os.OpenFile(string(p), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", string(p))
	}
	b, err := io.ReadAll(io.LimitReader(f, fileSize+1))
	if err != nil {
		return nil, err
	}
	if len(b) > fileSize {
		return nil, fmt.Errorf("%s is larger than 64 KiB", string(p))
	}
	return b, nil
}
