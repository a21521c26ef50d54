// Command render renders JSON lines from standard input to standard output, for the
// comparison with Django.
package main

import (
	"bufio"
	"os"

	"github.com/waltrigger/waltrigger/pkg/template"
)

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 16<<20)
	out := bufio.NewWriterSize(os.Stdout, 1<<16)
	var buf []byte
	for in.Scan() {
		buf = append(template.RenderJSONLine(in.Bytes(), buf[:0]), '\n')
		if _, err := out.Write(buf); err != nil {
			os.Exit(1)
		}
	}
	if in.Err() != nil || out.Flush() != nil {
		os.Exit(1)
	}
}
