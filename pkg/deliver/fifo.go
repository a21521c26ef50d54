package deliver

// fifo is a list of deliveries that are ready.
type fifo struct{ head, tail *Delivery }

func (f *fifo) push(d *Delivery) {
	d.next = nil
	if f.tail == nil {
		f.head = d
	} else {
		f.tail.next = d
	}
	f.tail = d
}

func (f *fifo) unshift(d *Delivery) {
	d.next = f.head
	f.head = d
	if f.tail == nil {
		f.tail = d
	}
}

func (f *fifo) pop() *Delivery {
	d := f.head
	if d == nil {
		return nil
	}
	f.head = d.next
	if f.head == nil {
		f.tail = nil
	}
	d.next = nil
	return d
}
