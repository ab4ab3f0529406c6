package expect

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A pinhole that is lengthened waits on, for one connection, and not for ever.
func TestLengthen(t *testing.T) {
	b := registered(t)
	b.attach(t, "")
	listen(t, "127.0.0.1:21")
	listen(t, "127.0.0.1:50055")
	c := control(t, "127.0.0.1", "127.0.0.1:21")
	lengthen := func(d time.Duration) {
		t.Helper()
		if done, err := b.Lengthen("a", d, time.Now()); !done || err != nil {
			t.Fatalf("lengthened: %v, %v", done, err)
		}
	}
	p := ours("a", c, "127.0.0.1:50055")
	add(t, b, p)
	for range 3 {
		lengthen(time.Hour)
	}
	if n, s := left(t, b); n != 1 || s < 3000 {
		t.Errorf("%d expectations, %d s are left of an hour", n, s)
	}
	if ids, err := b.Arrived(); err != nil || len(ids) != 0 {
		t.Errorf("arrived: %v, %v", ids, err)
	}
	if !passes(t, "127.0.0.1", "127.0.0.1:50055") || leaks(t, "127.0.0.1", "127.0.0.1:50055") {
		t.Error("want one connection, and no second")
	}
	removed(t, b, "a", true)

	add(t, b, p)
	lengthen(time.Second)
	ends(t, b)
	if leaks(t, "127.0.0.1", "127.0.0.1:50055") {
		t.Error("open after its time")
	}
	removed(t, b, "a", false)
}

// ends waits until the kernel expects nothing any more.
func ends(t *testing.T, b *Backend) {
	t.Helper()
	for deadline := time.Now().Add(soon); ; time.Sleep(10 * time.Millisecond) {
		if n, _ := left(t, b); n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("what is expected does not expire")
		}
	}
}

// What a connection has used, what has had its time and what was removed takes no
// connection by being lengthened. (law 4)
func TestLaw4LengthenOpensNothingAgain(t *testing.T) {
	b := registered(t)
	b.attach(t, "")
	listen(t, "127.0.0.1:21")
	listen(t, "127.0.0.1:50055")
	c := control(t, "127.0.0.1", "127.0.0.1:21")
	shut := func(why, id string, now time.Time) {
		t.Helper()
		if done, err := b.Lengthen(id, time.Minute, now); done || err != nil {
			t.Errorf("%s: lengthened: %v, %v", why, done, err)
		}
		if n, _ := left(t, b); n != 0 {
			t.Errorf("%s: %d expectations", why, n)
		}
	}
	add(t, b, ours("used", c, "127.0.0.1:50055"))
	if !passes(t, "127.0.0.1", "127.0.0.1:50055") {
		t.Fatal("the port is shut")
	}
	shut("used", "used", time.Now())
	shut("used, and known to be", "used", time.Now())
	removed(t, b, "used", true)
	shut("removed", "used", time.Now())

	p := ours("over", c, "127.0.0.1:50055")
	p.Timeout = time.Second
	begin := time.Now()
	add(t, b, p)
	ends(t, b)
	shut("its time is over", "over", begin)
	removed(t, b, "over", false)
}

// Of SYNs that come at the moment of lengthening exactly one gets through. (law 4)
func TestLaw4LengthenRace(t *testing.T) {
	b := registered(t)
	b.attach(t, "")
	listen(t, "127.0.0.1:21")
	from := listen(t, "127.0.0.1:50055")
	c := control(t, "127.0.0.1", "127.0.0.1:21")
	before, after := 0, 0
	for trial := range 250 {
		p := ours(fmt.Sprint("t-", trial), c, "127.0.0.1:50055")
		add(t, b, p)
		lengthened := make(chan bool, 1)
		go func() {
			done, err := b.Lengthen(p.ID, time.Minute, time.Now())
			if err != nil {
				t.Error(err)
			}
			lengthened <- done
		}()
		time.Sleep(time.Duration(rand.N(60)) * time.Microsecond)
		closeAll := connectAll(t, 4, 50055)
		if <-lengthened {
			before++
		} else {
			after++
		}
		select {
		case <-from:
		case <-time.After(soon):
			t.Fatalf("trial %d: none came through", trial)
		}
		select {
		case <-from:
			t.Fatalf("trial %d: a second came through", trial)
		case <-time.After(20 * time.Millisecond):
		}
		closeAll()
		removed(t, b, p.ID, true)
	}
	t.Logf("lengthened before the first SYN in %d trials, after it in %d", before, after)
}

// connectAll sends n SYNs to a port of this thread's network namespace, one right
// after the other.
func connectAll(t *testing.T, n, port int) (closeAll func()) {
	t.Helper()
	sockets := make([]int, n)
	for i := range sockets {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		sockets[i] = fd
	}
	for _, fd := range sockets {
		if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: port}); err != nil && err != unix.EINPROGRESS {
			t.Fatal(err)
		}
	}
	return func() {
		for _, fd := range sockets {
			unix.Close(fd)
		}
	}
}
