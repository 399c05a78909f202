// quic-go, with windows that never limit and its own defaults besides (GSO on).
//
//	quicgo server PORT CERT KEY
//	quicgo client PORT CA bulk DOWN UP | handshakes COUNT | requests COUNT IN-FLIGHT
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
	"os"
	"strconv"
	"sync"
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

func ask(conn *quic.Conn, down, up uint64) {
	stream := must(conn.OpenStreamSync(context.Background()))
	go func() {
		var head [message]byte
		binary.BigEndian.PutUint64(head[:], down)
		must(stream.Write(head[:]))
		if up > message {
			must(0, sendZeros(stream, up-message))
		}
		stream.Close()
	}()
	if got := must(io.Copy(io.Discard, stream)); uint64(got) != down {
		panic("short answer")
	}
}

func main() {
	if os.Args[1] == "server" {
		serve(os.Args[2])
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(must(os.ReadFile(os.Args[3])))
	secure := &tls.Config{RootCAs: roots, ServerName: "localhost", NextProtos: []string{"perf"},
		CurvePreferences: []tls.CurveID{tls.X25519}}
	join := func() *quic.Conn {
		return must(quic.DialAddr(context.Background(), "127.0.0.1:"+os.Args[2], secure, config()))
	}
	var began time.Time
	begin := func() { fmt.Println("begin"); began = time.Now() }
	switch os.Args[4] {
	case "bulk":
		conn := join()
		begin()
		ask(conn, number(5), number(6))
	case "handshakes":
		begin()
		for i := number(5); i > 0; i-- {
			conn := join()
			ask(conn, message, message)
			conn.CloseWithError(0, "")
		}
	case "requests":
		conn := join()
		begin()
		slots := make(chan struct{}, number(6))
		var all sync.WaitGroup
		for i := number(5); i > 0; i-- {
			slots <- struct{}{}
			all.Add(1)
			go func() { ask(conn, message, message); <-slots; all.Done() }()
		}
		all.Wait()
	}
	fmt.Printf("end %.6f\n", time.Since(began).Seconds())
}
