// quic-go as a client and as a server of files: hq-interop, one `GET /path` a stream, the bare bytes back.
//
//	quicgo serve -root DIR [-listen ADDRESS:PORT] [options]
//	quicgo get   -output DIR (-pin SHA256 | -ca FILE | -insecure) [options] ADDRESS:PORT PATH...
//
// The server makes a certificate of its own unless it is given one, prints "listening on ADDRESS:PORT" and "fingerprint
// sha256:HEX", one line of JSON for each connection that ended, and on SIGINT or SIGTERM a summary. The client fetches
// all paths at once over one connection and prints one line of JSON. Exit codes: 0 all arrived, 1 something did not,
// 3 no connection.
//
// quic-go begins a key update of its own accord after the first hundred packets. QLOGDIR names a directory for qlogs.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/qlog"
)

const (
	protocolName = "hq-interop"
	notFound     = 0x104 // the code of RESET_STREAM for a file that is not there
)

type options struct {
	listen, root, certificate, key             string
	output, pin, ca, serverName                string
	groups, versions, keylog                   string
	migrate                                    string
	retry, insecure, resume, each, early       bool
	idleTimeout                                time.Duration
	streamWindow, connectionWindow, packetSize uint64
}

func say(value any) {
	line, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

func fail(code int, err error) {
	fmt.Fprintln(os.Stderr, "quicgo:", err)
	os.Exit(code)
}

// How a connection ended, for people and for the test: clean is an application close with code 0.
func ending(err error) map[string]any {
	result := map[string]any{"clean": false, "close": fmt.Sprint(err)}
	var application *quic.ApplicationError
	if errors.As(err, &application) {
		result["clean"] = application.ErrorCode == 0
		result["close_code"] = uint64(application.ErrorCode)
		result["close_remote"] = application.Remote
	}
	return result
}

func state(conn *quic.Conn) map[string]any {
	s := conn.ConnectionState()
	return map[string]any{
		"version":             uint32(s.Version),
		"group":               s.TLS.CurveID.String(),
		"hello_retry_request": s.TLS.HelloRetryRequest,
		"suite":               tls.CipherSuiteName(s.TLS.CipherSuite),
		"gso":                 s.GSO,
		"resumed":             s.TLS.DidResume,
		"early_data":          s.Used0RTT,
	}
}

func merge(maps ...map[string]any) map[string]any {
	all := map[string]any{}
	for _, m := range maps {
		for key, value := range m {
			all[key] = value
		}
	}
	return all
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "localhost"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(7 * 24 * time.Hour),
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

func curves(list string) ([]tls.CurveID, error) {
	known := map[string]tls.CurveID{
		"X25519": tls.X25519, "P-256": tls.CurveP256, "P-384": tls.CurveP384, "P-521": tls.CurveP521,
		"X25519MLKEM768": tls.X25519MLKEM768, "SecP384r1MLKEM1024": tls.SecP384r1MLKEM1024,
	}
	var ids []tls.CurveID
	for _, name := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' }) {
		id, ok := known[name]
		if !ok {
			return nil, fmt.Errorf("unknown group %q", name)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func (o *options) tlsConfig() (*tls.Config, error) {
	config := &tls.Config{NextProtos: []string{protocolName}, MinVersion: tls.VersionTLS13}
	var err error
	if config.CurvePreferences, err = curves(o.groups); err != nil {
		return nil, err
	}
	if o.keylog != "" {
		file, err := os.OpenFile(o.keylog, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		config.KeyLogWriter = file
	}
	return config, nil
}

func (o *options) quicConfig() (*quic.Config, error) {
	config := &quic.Config{
		MaxIdleTimeout:                 o.idleTimeout,
		HandshakeIdleTimeout:           o.idleTimeout, // without it ten seconds are all that a handshake may take
		InitialStreamReceiveWindow:     o.streamWindow,
		InitialConnectionReceiveWindow: o.connectionWindow,
		InitialPacketSize:              uint16(o.packetSize),
		Tracer:                         qlog.DefaultConnectionTracer,
		Allow0RTT:                      o.early,
	}
	for _, text := range strings.FieldsFunc(o.versions, func(r rune) bool { return r == ',' }) {
		version, err := strconv.ParseUint(text, 16, 32)
		if err != nil {
			return nil, err
		}
		config.Versions = append(config.Versions, quic.Version(version))
	}
	return config, nil
}

// ---- server ---------------------------------------------------------------------------------------------------------

type server struct {
	root               string
	mutex              sync.Mutex
	connections, clean int
	ended              sync.WaitGroup
}

func (s *server) answer(stream *quic.Stream) {
	request, err := io.ReadAll(io.LimitReader(stream, 8192))
	if err != nil {
		stream.CancelWrite(notFound)
		return
	}
	path := strings.TrimSpace(strings.TrimPrefix(string(request), "GET "))
	// Clean of a rooted path leaves nothing that leads out of the root.
	file, err := os.Open(filepath.Join(s.root, filepath.Clean("/"+path)))
	if err != nil {
		stream.CancelWrite(notFound)
		return
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		stream.CancelWrite(notFound)
		return
	}
	if _, err := io.Copy(stream, file); err != nil {
		stream.CancelWrite(notFound)
		return
	}
	stream.Close()
}

func (s *server) serve(conn *quic.Conn) {
	defer s.ended.Done()
	requests := 0
	for {
		stream, err := conn.AcceptStream(context.Background())
		if err != nil {
			break
		}
		requests++
		go s.answer(stream)
	}
	<-conn.Context().Done() // only now its cause is known
	end := ending(context.Cause(conn.Context()))
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.connections++
	if end["clean"] == true {
		s.clean++
	}
	say(merge(map[string]any{"requests": requests}, state(conn), end))
}

func serveCommand(o *options) error {
	tlsConfig, err := o.tlsConfig()
	if err != nil {
		return err
	}
	var certificate tls.Certificate
	if o.certificate != "" {
		certificate, err = tls.LoadX509KeyPair(o.certificate, o.key)
	} else {
		certificate, err = selfSigned()
	}
	if err != nil {
		return err
	}
	tlsConfig.Certificates = []tls.Certificate{certificate}
	quicConfig, err := o.quicConfig()
	if err != nil {
		return err
	}
	local, err := net.ResolveUDPAddr("udp", o.listen)
	if err != nil {
		return err
	}
	socket, err := net.ListenUDP("udp", local)
	if err != nil {
		return err
	}
	transport := &quic.Transport{Conn: socket}
	if o.retry {
		transport.VerifySourceAddress = func(net.Addr) bool { return true }
	}
	listener, err := transport.ListenEarly(tlsConfig, quicConfig) // gives connections before their handshake is complete
	if err != nil {
		return err
	}
	sum := sha256.Sum256(certificate.Certificate[0])
	fmt.Printf("listening on %s\nfingerprint sha256:%s\n", socket.LocalAddr(), hex.EncodeToString(sum[:]))

	s := &server{root: o.root}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	for {
		conn, err := listener.Accept(stop)
		if err != nil {
			break
		}
		s.ended.Add(1)
		go s.serve(conn)
	}
	listener.Close()
	transport.Close()
	s.ended.Wait()
	say(map[string]any{"summary": true, "connections": s.connections, "clean": s.clean})
	return nil
}

// ---- client ---------------------------------------------------------------------------------------------------------

func (o *options) trust(config *tls.Config, host string) error {
	config.ServerName = host
	if o.serverName != "" {
		config.ServerName = o.serverName
	}
	if o.ca != "" {
		pem, err := os.ReadFile(o.ca)
		if err != nil {
			return err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("no certificate in %s", o.ca)
		}
		return nil
	}
	if !o.insecure && o.pin == "" {
		return errors.New("-pin, -ca or -insecure is needed")
	}
	config.InsecureSkipVerify = true
	config.VerifyConnection = func(s tls.ConnectionState) error {
		sum := sha256.Sum256(s.PeerCertificates[0].Raw)
		if got := hex.EncodeToString(sum[:]); o.pin != "" && got != strings.TrimPrefix(o.pin, "sha256:") {
			return fmt.Errorf("the certificate is %s, not the pinned one", got)
		}
		return nil
	}
	return nil
}

func (o *options) fetch(ctx context.Context, conn *quic.Conn, path string) (int64, error) {
	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return 0, err
	}
	if _, err := fmt.Fprintf(stream, "GET %s\r\n", path); err != nil {
		return 0, err
	}
	stream.Close()
	target := filepath.Join(o.output, filepath.Clean("/"+path))
	file, err := os.Create(target)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(file, stream)
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err != nil {
		os.Remove(target)
	}
	return n, err
}

func getCommand(o *options, address string, paths []string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	tlsConfig, err := o.tlsConfig()
	if err != nil {
		return err
	}
	if err := o.trust(tlsConfig, host); err != nil {
		return err
	}
	quicConfig, err := o.quicConfig()
	if err != nil {
		return err
	}
	if o.resume {
		cache := &sessionCache{ClientSessionCache: tls.NewLRUClientSessionCache(1), came: make(chan struct{}, 8)}
		tlsConfig.ClientSessionCache = cache
		code, report := o.converse(address, paths[:1], tlsConfig, quicConfig, cache.came)
		if code != 0 {
			say(report)
			os.Exit(code)
		}
		paths = paths[1:]
	}
	groups := [][]string{paths}
	if o.each {
		groups = nil
		for i := range paths {
			groups = append(groups, paths[i:i+1])
		}
	}
	var code int
	var report map[string]any
	for _, group := range groups {
		if code, report = o.converse(address, group, tlsConfig, quicConfig, nil); code != 0 {
			break
		}
	}
	say(report)
	os.Exit(code)
	return nil // not reached
}

// Moves the connection to another address of ours once files are on their way.
func (o *options) move(ctx context.Context, conn *quic.Conn) error {
	time.Sleep(300 * time.Millisecond)
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(o.migrate)})
	if err != nil {
		return err
	}
	path, err := conn.AddPath(&quic.Transport{Conn: socket, ConnectionIDLength: 8})
	if err != nil {
		return err
	}
	if err := path.Probe(ctx); err != nil {
		return err
	}
	return path.Switch()
}

// A cache of sessions that tells when one came.
type sessionCache struct {
	tls.ClientSessionCache
	came chan struct{}
}

func (c *sessionCache) Put(key string, session *tls.ClientSessionState) {
	c.ClientSessionCache.Put(key, session)
	select {
	case c.came <- struct{}{}:
	default: // nobody waits for this many
	}
}

// With connection IDs if it is to move: without, what comes by another socket belongs to nobody.
func (o *options) dial(ctx context.Context, address string, tlsConfig *tls.Config, quicConfig *quic.Config) (*quic.Conn, error) {
	switch {
	case o.resume:
		return quic.DialAddrEarly(ctx, address, tlsConfig, quicConfig)
	case o.migrate == "":
		return quic.DialAddr(ctx, address, tlsConfig, quicConfig)
	}
	remote, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, err
	}
	socket, err := net.ListenUDP("udp", nil)
	if err != nil {
		return nil, err
	}
	transport := &quic.Transport{Conn: socket, ConnectionIDLength: 8}
	return transport.Dial(ctx, remote, tlsConfig, quicConfig)
}

// One connection: the exit code and a report. With a session in the cache it resumes, and asks in 0-RTT packets. It is
// not closed before something came through `awaited`, unless that is nil.
func (o *options) converse(address string, paths []string, tlsConfig *tls.Config, quicConfig *quic.Config,
	awaited <-chan struct{},
) (int, map[string]any) {
	ctx := context.Background()
	conn, err := o.dial(ctx, address, tlsConfig, quicConfig)
	if err != nil {
		fmt.Fprintln(os.Stderr, "quicgo:", err)
		return 3, map[string]any{"connected": false, "error": err.Error()}
	}
	var wait sync.WaitGroup
	var mutex sync.Mutex
	total, failed := int64(0), map[string]string{}
	for _, path := range paths {
		wait.Add(1)
		go func() {
			defer wait.Done()
			n, err := o.fetch(ctx, conn, path)
			mutex.Lock()
			defer mutex.Unlock()
			total += n
			if err != nil {
				failed[path] = err.Error()
			}
		}()
	}
	if o.migrate != "" {
		if err := o.move(ctx, conn); err != nil {
			mutex.Lock()
			failed["migration"] = err.Error()
			mutex.Unlock()
		}
	}
	wait.Wait()
	if awaited != nil {
		select {
		case <-awaited:
		case <-time.After(o.idleTimeout):
		}
	}
	endedEarly := conn.Context().Err() != nil
	connection := state(conn)
	conn.CloseWithError(0, "")
	report := merge(map[string]any{"connected": true, "bytes": total, "failed": failed, "ended_early": endedEarly},
		connection, ending(context.Cause(conn.Context())))
	if len(failed) > 0 || endedEarly {
		return 1, report
	}
	return 0, report
}

func main() {
	o := &options{}
	flags := flag.NewFlagSet("quicgo", flag.ExitOnError)
	flags.StringVar(&o.listen, "listen", "127.0.0.1:0", "server: `ADDRESS:PORT`")
	flags.StringVar(&o.root, "root", "", "server: `DIR` with the files")
	flags.StringVar(&o.certificate, "certificate", "", "server: PEM `FILE` with the chain")
	flags.StringVar(&o.key, "key", "", "server: PEM `FILE` with the key")
	flags.BoolVar(&o.early, "early", false, "server: take 0-RTT packets")
	flags.BoolVar(&o.retry, "retry", false, "server: validate every address with Retry")
	flags.StringVar(&o.output, "output", "", "client: `DIR` for the files")
	flags.StringVar(&o.pin, "pin", "", "client: `SHA256` of the server's certificate")
	flags.StringVar(&o.ca, "ca", "", "client: PEM `FILE` of the authority to trust")
	flags.BoolVar(&o.insecure, "insecure", false, "client: trust anybody")
	flags.StringVar(&o.serverName, "server-name", "", "client: `NAME` to ask for and to expect")
	flags.BoolVar(&o.resume, "resume", false, "client: fetch the first path, then the rest over a second connection that resumes")
	flags.BoolVar(&o.each, "each", false, "client: a connection for each path, one after the other")
	flags.StringVar(&o.migrate, "migrate", "", "client: move to this `ADDRESS` when files come")
	flags.StringVar(&o.groups, "groups", "", "`LIST` of groups for the key exchange")
	flags.StringVar(&o.versions, "versions", "", "`LIST` of QUIC versions, hexadecimal")
	flags.StringVar(&o.keylog, "keylog", "", "`FILE` for TLS secrets")
	flags.DurationVar(&o.idleTimeout, "idle-timeout", 15*time.Second, "")
	flags.Uint64Var(&o.streamWindow, "stream-window", 0, "initial window of a stream")
	flags.Uint64Var(&o.connectionWindow, "connection-window", 0, "initial window of the connection")
	flags.Uint64Var(&o.packetSize, "packet-size", 0, "initial size of packets")
	if len(os.Args) < 2 {
		fail(2, errors.New("serve or get?"))
	}
	flags.Parse(os.Args[2:])
	var err error
	switch {
	case os.Args[1] == "serve" && flags.NArg() == 0:
		err = serveCommand(o)
	case os.Args[1] == "get" && flags.NArg() >= 2:
		err = getCommand(o, flags.Arg(0), flags.Args()[1:])
	default:
		fail(2, errors.New("serve or get?"))
	}
	if err != nil {
		fail(1, err)
	}
}
