package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// peer is what reads the backlog: the product or a bare loop, with a place to send to.
type peer struct {
	name, sink string // ref-http, http; …
	slot       string
	topic      string
	program    string
	args       []string
	product    bool
	reference  bool   // the others of the sink are compared with it
	payload    string // of the product's trigger
	ops        string // the product's metrics
}

// Payloads of the product: the whole row; a few columns; the same with names from the
// related tables in the place of their keys.
const (
	whole   = `"{{ instance|json }}"`
	flat    = `{"id": "{{ instance.id|json }}", "customer": "{{ instance.customer_id }}", "region": "{{ instance.quantity }}", "country": "{{ instance.price }}", "product": "{{ instance.product_id }}"}`
	related = `{"id": "{{ instance.id|json }}", "customer": "{{ instance.customer.name }}", "region": "{{ instance.customer.region.name }}", "country": "{{ instance.customer.region.country.name }}", "product": "{{ instance.product.title }}"}`
)

// peers of a grouping, references first.
func (o *options) peers(d *database, grouping, url string) ([]peer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var all []peer
	add := func(w peer) error {
		w.program, w.product = o.waltrigger, true
		w.slot, w.topic = d.slotName(w.name+"-"+grouping), d.name+"-"+w.name+"-"+grouping
		file, err := o.configure(d, &w, grouping, url)
		w.args = []string{"run", "-c", file}
		all = append(all, w)
		return err
	}
	for _, sink := range []string{"http", "kafka"} {
		if !o.has(sink, grouping) {
			continue
		}
		if grouping == "relations" {
			for _, w := range []peer{{name: "without-" + sink, payload: flat, reference: true}, {name: "relations-" + sink, payload: related}} {
				if w.sink = sink; o.waltrigger != "" {
					if err := add(w); err != nil {
						return nil, err
					}
				}
			}
			continue
		}
		r := peer{reference: true, name: "ref-" + sink, sink: sink, program: self}
		r.slot, r.topic = d.slotName(r.name+"-"+grouping), d.name+"-"+r.name+"-"+grouping
		r.args = []string{r.name, "-postgres", d.dsn, "-slot", r.slot, "-workers", fmt.Sprint(o.workers), "-url", url, "-kafka", o.kafka, "-topic", r.topic}
		all = append(all, r)
		if o.waltrigger == "" {
			continue
		}
		if err := add(peer{name: "waltrigger-" + sink, sink: sink, payload: whole}); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// configure writes the product's configuration: one trigger, a body like the
// reference's, a store of its own.
func (o *options) configure(d *database, p *peer, grouping, url string) (string, error) {
	dir := filepath.Join(o.dir, d.name, p.name+"-"+grouping)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	order := ""
	if o.ordering == "customer" {
		order = "  ordering_key: \"{{ instance.customer_id }}\"\n"
	}
	dest := fmt.Sprintf("  webhooks: [{url: %q, http_method: POST, timeout_secs: 30}]\n", url)
	brokers := ""
	if p.sink == "kafka" {
		dest = "  msg_broker_queues: [{name: bench}]\n"
		brokers = fmt.Sprintf("brokers: {bench: {broker_type: kafka, conn_details: {bootstrap_servers: %q}, params: {topic: %q}}}\n", o.kafka, p.topic)
	}
	triggers := "- config_signals: [{signal: post_save}]\n  content_types: [{app_label: public, model_name: sale}]\n" +
		"  active: true\n  payload: " + p.payload + "\n" + order + dest
	admin, ops, err := freePorts()
	if err != nil {
		return "", err
	}
	p.ops = ops
	config := fmt.Sprintf("sources: [{name: bench, url: %q, slot: %q, publication: %q}]\nstore: {url: %q}\nadmin: {listen: %q}\nops: {listen: %q}\n"+
		"egress: {allow_cidrs: [\"127.0.0.0/8\"]}\n%striggers: [%q]\n",
		d.dsn, p.slot, p.slot, "sqlite:"+filepath.Join(dir, "store.db"), admin, ops, brokers, filepath.Join(dir, "triggers.yaml"))
	if err := os.WriteFile(filepath.Join(dir, "triggers.yaml"), []byte(triggers), 0o644); err != nil {
		return "", err
	}
	file := filepath.Join(dir, "waltrigger.yaml")
	return file, os.WriteFile(file, []byte(config), 0o644)
}

// freePorts gives two loopback addresses that were free a moment ago.
func freePorts() (a, b string, err error) {
	la, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer la.Close()
	lb, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer lb.Close()
	return la.Addr().String(), lb.Addr().String(), nil
}

// start runs the peer.
func (p peer) start(o options) (*process, error) {
	return start(o.dir, p.name, p.program, p.args...)
}

// prepare brings the peer to where it would read everything written from now on, and
// stops it: a bare loop needs its slot only, the product runs until rows arrive.
func (p peer) prepare(ctx context.Context, o options, d *database, r *recorder, ids *int64) error {
	if !p.product {
		return d.createSlot(ctx, p.slot)
	}
	stop, err := p.receive(ctx, o, r)
	if err != nil {
		return err
	}
	defer stop()
	proc, err := p.start(o)
	if err != nil {
		return err
	}
	err = probe(ctx, d, r, proc, ids)
	if _, e := proc.stop(); err == nil {
		err = e
	}
	return err
}

// receive opens what the peer sends to, beyond the HTTP receiver that is always there.
func (p peer) receive(ctx context.Context, o options, r *recorder) (stop func(), err error) {
	if p.sink != "kafka" {
		return func() {}, nil
	}
	stop, err = r.consume(ctx, o.kafka, p.topic)
	if err != nil {
		return nil, fmt.Errorf("read topic %s: %w", p.topic, err)
	}
	return stop, nil
}
