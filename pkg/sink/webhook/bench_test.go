package webhook

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
	"go.uber.org/goleak"

	"github.com/waltrigger/waltrigger/pkg/sink"
)

// receiverVar makes the test's program a receiver, so that benchmarks measure the CPU
// of the sender alone.
const receiverVar = "WALTRIGGER_TEST_RECEIVER"

func TestMain(m *testing.M) {
	if os.Getenv(receiverVar) != "" {
		receive()
		return
	}
	flag.Parse()
	if flag.Lookup("test.bench").Value.String() != "" { // fasthttp's client leaves goroutines
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}

// receive serves until its input is closed.
func receive() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr())
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
		}))
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func startReceiver(b *testing.B) (address string) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), receiverVar+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func cpuTime(b *testing.B) time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// BenchmarkSend compares the sink with a bare loop on one connection a goroutine, with
// net/http and with fasthttp's own client. Run it with -benchtime 100000x.
func BenchmarkSend(b *testing.B) {
	address := startReceiver(b)
	body := []byte(`{"id":1,"pad":"` + strings.Repeat("x", 480) + `"}`)
	for _, parallel := range []int{16, 64} {
		for _, c := range []struct {
			name   string
			client func(b *testing.B, address string, body []byte) func() error
		}{{"raw", rawClient}, {"sink", sinkClient}, {"nethttp", netClient}, {"fasthttp", fastClient}} {
			b.Run(fmt.Sprintf("%s-%d", c.name, parallel), func(b *testing.B) {
				one := c.client(b, address, body)
				b.ReportAllocs()
				before := cpuTime(b)
				b.ResetTimer()
				var left atomic.Int64
				left.Store(int64(b.N))
				var wg sync.WaitGroup
				for range parallel {
					wg.Go(func() {
						send := one
						if c.name == "raw" {
							send = rawClient(b, address, body)
						}
						for left.Add(-1) >= 0 {
							if err := send(); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.StopTimer()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
				b.ReportMetric((cpuTime(b)-before).Seconds()/float64(b.N)*1e5, "cpu-s/100k")
			})
		}
	}
}

func rawClient(b *testing.B, address string, body []byte) func() error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	br := bufio.NewReader(c)
	return func() error {
		if _, err := fmt.Fprintf(c, "POST /hook HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", address, len(body), body); err != nil {
			return err
		}
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return err
	}
}

func sinkClient(b *testing.B, address string, body []byte) func() error {
	s := open(sink.Env{Dial: (&net.Dialer{}).DialContext}, nil)
	b.Cleanup(func() { s.Close() })
	params := map[string]string{"url": "http://" + address + "/hook", "http_method": "POST"}
	parent, cancel := context.WithCancel(context.Background())
	b.Cleanup(cancel)
	headers := []sink.Header{{Name: "Authorization", Value: "Bearer 0123456789"}}
	return func() error {
		ctx, cancel := context.WithTimeout(parent, 30*time.Second)
		defer cancel()
		m := &sink.Message{ID: "shop_0000000001A2B3C4_1_post_save_d1", Body: body, ContentType: "application/json", Params: params, Headers: headers}
		if errs := s.Send(ctx, []*sink.Message{m}); errs != nil {
			return errs[0]
		}
		return nil
	}
}

func netClient(b *testing.B, address string, body []byte) func() error {
	tr := &http.Transport{MaxIdleConnsPerHost: 512, DisableCompression: true}
	b.Cleanup(tr.CloseIdleConnections)
	c := &http.Client{Transport: tr}
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/hook", bytes.NewReader(body))
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer 0123456789")
		r.Header.Set("Webhook-Id", "shop_0000000001A2B3C4_1_post_save_d1")
		resp, err := c.Do(r)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return err
	}
}

func fastClient(b *testing.B, address string, body []byte) func() error {
	c := &fasthttp.HostClient{Addr: address, MaxConns: 512}
	b.Cleanup(c.CloseIdleConnections)
	return func() error {
		req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
		defer fasthttp.ReleaseRequest(req)
		defer fasthttp.ReleaseResponse(resp)
		req.Header.SetMethod(http.MethodPost)
		req.SetRequestURI("http://" + address + "/hook")
		req.Header.SetContentType("application/json")
		req.Header.Set("Authorization", "Bearer 0123456789")
		req.Header.Set("Webhook-Id", "shop_0000000001A2B3C4_1_post_save_d1")
		req.SetBodyRaw(body)
		return c.DoDeadline(req, resp, time.Now().Add(30*time.Second))
	}
}
