/* tls.c - TLS 1.3 over TCP with OpenSSL: what QUIC is compared with.
 *
 *     tls server PORT CERT KEY
 *     tls client PORT CA bulk DOWN UP | handshakes COUNT
 *
 * The protocol is the one of the other peers (see ../rust/src/lib.rs), one request a connection. Blocking sockets, one
 * connection at a time, 16 KiB records, AES-128-GCM, no kernel TLS: the way most programs use it, at its fastest. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char buffer[65536];

static void die(const char *what) {
    fprintf(stderr, "tls: %s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static double seconds(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + 1e-9 * (double)at.tv_nsec;
}

static void send_zeros(SSL *ssl, unsigned long long left) {
    while (left) {
        int some = SSL_write(ssl, buffer, (int)(left < sizeof buffer ? left : sizeof buffer));
        if (some <= 0)
            die("write");
        left -= (unsigned long long)some;
    }
}

static unsigned long long receive(SSL *ssl, unsigned long long left) {
    unsigned long long got = 0;
    while (got < left) {
        int some = SSL_read(ssl, buffer, (int)(left - got < sizeof buffer ? left - got : sizeof buffer));
        if (some <= 0)
            break;
        got += (unsigned long long)some;
    }
    return got;
}

static unsigned long long big_endian(const unsigned char *in) {
    unsigned long long out = 0;
    for (int i = 0; i < 8; i++)
        out = out << 8 | in[i];
    return out;
}

/* Request: 8 bytes answer size, 8 bytes upload size, then the upload. */
static void answer(SSL *ssl) {
    unsigned char head[16];
    if (receive(ssl, 16) != 16)
        return;
    memcpy(head, buffer, 16);
    receive(ssl, big_endian(head + 8));
    send_zeros(ssl, big_endian(head));
    SSL_shutdown(ssl);
}

static void serve(int port, const char *cert, const char *key) {
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons((unsigned short)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (!ctx || SSL_CTX_use_certificate_chain_file(ctx, cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        die("certificate");
    if (bind(listener, (struct sockaddr *)&addr, sizeof addr) || listen(listener, 128))
        die("listen");
    puts("ready");
    fflush(stdout);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        SSL *ssl = SSL_new(ctx);
        SSL_set_fd(ssl, fd);
        if (SSL_accept(ssl) == 1)
            answer(ssl);
        SSL_free(ssl);
        close(fd);
    }
}

static SSL *join(SSL_CTX *ctx, int port) {
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons((unsigned short)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&addr, sizeof addr))
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    SSL *ssl = SSL_new(ctx);
    SSL_set_fd(ssl, fd);
    SSL_set1_host(ssl, "localhost");
    if (SSL_connect(ssl) != 1)
        die("handshake");
    return ssl;
}

static void ask(SSL *ssl, unsigned long long down, unsigned long long up) {
    unsigned char head[16];
    for (int i = 0; i < 8; i++) {
        head[i] = (unsigned char)(down >> (56 - 8 * i));
        head[8 + i] = (unsigned char)(up >> (56 - 8 * i));
    }
    if (SSL_write(ssl, head, 16) != 16)
        die("request");
    send_zeros(ssl, up);
    if (receive(ssl, down) != down)
        die("answer");
    while (SSL_read(ssl, buffer, sizeof buffer) > 0)
        ;
    close(SSL_get_fd(ssl));
    SSL_free(ssl);
}

int main(int argc, char **argv) {
    if (argc < 5)
        return 2;
    int port = atoi(argv[2]);
    if (!strcmp(argv[1], "server"))
        serve(port, argv[3], argv[4]);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx || SSL_CTX_load_verify_file(ctx, argv[3]) != 1 ||
        SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") != 1)
        die("authorities");
    SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set1_groups_list(ctx, "X25519");
    double began;
    if (!strcmp(argv[4], "bulk")) {
        SSL *ssl = join(ctx, port);
        puts("begin");
        began = seconds();
        ask(ssl, strtoull(argv[5], NULL, 10), strtoull(argv[6], NULL, 10));
    } else {
        puts("begin");
        began = seconds();
        for (long i = strtol(argv[5], NULL, 10); i > 0; i--)
            ask(join(ctx, port), 100, 100);
    }
    printf("end %.6f\n", seconds() - began);
    return 0;
}
