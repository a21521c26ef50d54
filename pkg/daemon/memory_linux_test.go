package daemon

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

const smaps = `00400000-0177d000 r-xp 00000000 fe:00 1835046                            /opt/waltrigger
Size:              19956 kB
Rss:               16868 kB
Private_Dirty:         0 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
0177d000-02cbc000 r--p 0137d000 fe:00 1835046                            /opt/waltrigger
Rss:               14568 kB
Anonymous:             4 kB
02cbc000-02cbf000 r--p 028bc000 fe:00 1835046                            /opt/waltrigger
Private_Dirty:        12 kB
Anonymous:             0 kB
02cbf000-02e6d000 rw-p 028be000 fe:00 1835046                            /opt/waltrigger
Anonymous:             0 kB
02e6d000-04efb000 rw-p 00000000 00:00 0
Anonymous:             0 kB
7f3a22196000-7f3a2219e000 r--s 00000000 fe:00 1835050                    /opt/store.db-shm
Anonymous:             0 kB
7f3a68dd5000-7f3a68e35000 r-xp 00000000 fe:00 1835051                    /opt/waltrigger (deleted)
Anonymous:             0 kB
`

func TestCleanMappings(t *testing.T) {
	want := []mapping{{0x400000, 0x177d000}, {0x2cbc000, 0x2cbf000}}
	if got := cleanMappings(strings.NewReader(smaps), "/opt/waltrigger"); !slices.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
	for _, bad := range []string{"", "-", "x-y r-xp 0 0 0 /opt/waltrigger\nAnonymous: 0 kB", "2-1 r-xp 0 0 0 /opt/waltrigger\nAnonymous: 0 kB", "Anonymous: 0 kB"} {
		if got := cleanMappings(strings.NewReader(bad), "/opt/waltrigger"); got != nil {
			t.Errorf("%q gives %x", bad, got)
		}
	}
}

func TestReleaseStartup(t *testing.T) {
	resident := func() (kB int) {
		status, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		_, line, found := strings.Cut(string(status), "RssFile:")
		if _, err := fmt.Sscan(line, &kB); err != nil || !found {
			t.Fatalf("no RssFile: %v", err)
		}
		return kB
	}
	before := resident()
	releaseStartup()
	if after := resident(); after >= before {
		t.Errorf("%d kB of files are resident afterwards, %d kB before", after, before)
	}
}
