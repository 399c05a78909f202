// quic-go, with windows that never limit and its own defaults besides (GSO on).
//
//	quicgo server PORT CERT KEY
//	quicgo client PORT CA bulk DOWN UP | handshakes COUNT AT-ONCE | requests COUNT IN-FLIGHT
//
// The protocol is that of draft-banks-quic-performance: the first eight bytes of a stream say how many bytes the answer
// has, big-endian.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
)

const message = 100

var zeros [65536]byte

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, "quicgo:", err)
		os.Exit(1)
	}
	return value
}

func number(at int) uint64 { return must(strconv.ParseUint(os.Args[at], 10, 64)) }

func config() *quic.Config {
	return &quic.Config{
		InitialStreamReceiveWindow:     16 << 20,
		MaxStreamReceiveWindow:         16 << 20,
		InitialConnectionReceiveWindow: 32 << 20,
		MaxConnectionReceiveWindow:     32 << 20,
		MaxIncomingStreams:             1000,
	}
}

func sendZeros(to io.Writer, left uint64) error {
	for left > 0 {
		part := min(left, uint64(len(zeros)))
		if _, err := to.Write(zeros[:part]); err != nil {
			return err
		}
		left -= part
	}
	return nil
}

func answer(stream *quic.Stream) {
	var head [8]byte
	if _, err := io.ReadFull(stream, head[:]); err != nil {
		return
	}
	if _, err := io.Copy(io.Discard, stream); err != nil {
		return
	}
	if sendZeros(stream, binary.BigEndian.Uint64(head[:])) == nil {
		stream.Close()
	}
}

func serve(port string) {
	pair := must(tls.LoadX509KeyPair(os.Args[3], os.Args[4]))
	listener := must(quic.ListenAddr("127.0.0.1:"+port,
		&tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"perf"}}, config()))
	fmt.Println("ready")
	for {
		conn := must(listener.Accept(context.Background()))
		go func() {
			for {
				stream, err := conn.AcceptStream(context.Background())
				if err != nil {
					return
				}
				go answer(stream)
			}
		}()
	}
}

func ask(conn *quic.Conn, down, up uint64) error {
	stream, err := conn.OpenStreamSync(context.Background())
	if err != nil {
		return err
	}
	go func() {
		var head [message]byte
		binary.BigEndian.PutUint64(head[:], down)
		_, err := stream.Write(head[:])
		if err == nil && up > message {
			err = sendZeros(stream, up-message)
		}
		if err == nil { // otherwise the answer will not come, and says so
			stream.Close()
		}
	}()
	got, err := io.Copy(io.Discard, stream)
	if err == nil && uint64(got) != down {
		err = fmt.Errorf("%d bytes of %d", got, down)
	}
	return err
}

func handshake(join func() (*quic.Conn, error)) error {
	conn, err := join()
	if err == nil {
		err = ask(conn, message, message)
		conn.CloseWithError(0, "")
	}
	return err
}

// So many goroutines, each of which makes one handshake after the other.
func handshakes(join func() (*quic.Conn, error), count, atOnce int64) {
	var left, completed, failed atomic.Int64
	left.Store(count)
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				if err := handshake(join); err != nil {
					fmt.Fprintln(os.Stderr, "quicgo:", err)
					failed.Add(1)
				} else {
					completed.Add(1)
				}
			}
		})
	}
	all.Wait()
	fmt.Println("handshakes", completed.Load(), failed.Load())
}

func main() {
	if os.Args[1] == "server" {
		serve(os.Args[2])
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(must(os.ReadFile(os.Args[3])))
	secure := &tls.Config{RootCAs: roots, ServerName: "localhost", NextProtos: []string{"perf"},
		CurvePreferences: []tls.CurveID{tls.X25519}}
	socket := quic.Transport{Conn: must(net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}))}
	server := must(net.ResolveUDPAddr("udp4", "127.0.0.1:"+os.Args[2]))
	join := func() (*quic.Conn, error) { return socket.Dial(context.Background(), server, secure, config()) }
	var began time.Time
	begin := func() { fmt.Println("begin"); began = time.Now() }
	switch os.Args[4] {
	case "bulk":
		conn := must(join())
		begin()
		must(0, ask(conn, number(5), number(6)))
	case "handshakes":
		begin()
		handshakes(join, int64(number(5)), int64(number(6)))
	case "requests":
		conn := must(join())
		begin()
		slots := make(chan struct{}, number(6))
		var all sync.WaitGroup
		for i := number(5); i > 0; i-- {
			slots <- struct{}{}
			all.Add(1)
			go func() { must(0, ask(conn, message, message)); <-slots; all.Done() }()
		}
		all.Wait()
	}
	fmt.Printf("end %.6f\n", time.Since(began).Seconds())
}
