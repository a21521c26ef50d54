package resolve

import (
	"bytes"
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

func (p file) fetch(context.Context) (string, error) {
	// Without O_NONBLOCK opening a FIFO that nobody writes to would never return.
	f, err := os.OpenFile(string(p), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !st.Mode().IsRegular() {
		return "", fmt.Errorf("%s is no regular file", string(p))
	}
	b, err := io.ReadAll(io.LimitReader(f, fileSize+1))
	if err != nil {
		return "", err
	}
	if len(b) > fileSize {
		return "", fmt.Errorf("%s is larger than 64 KiB", string(p))
	}
	b, cut := bytes.CutSuffix(b, []byte("\n"))
	if cut {
		b = bytes.TrimSuffix(b, []byte("\r"))
	}
	return string(b), nil
}
