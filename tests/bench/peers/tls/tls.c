/* tls.c - TLS 1.3 over TCP with OpenSSL: what QUIC is compared with.
 *
 *     tls server PORT CERT KEY [crowd]
 *     tls client PORT CA bulk DOWN UP | handshakes COUNT AT-ONCE
 *
 * The protocol is the one of the other peers (see ../rust/src/lib.rs), one request a connection. 16 KiB records,
 * AES-128-GCM, no kernel TLS, blocking sockets, one connection at a time: the way most programs use it, at its fastest.
 * A server of a crowd, and the client of handshakes, wait for many by epoll. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
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

/* ---- many at once ------------------------------------------------------------------------------------------------ */

#define MESSAGE 100u

/* A connection of many: the step it is at, and how far that is. */
struct guest {
    SSL *ssl;
    int (*const *step)(struct guest *);
    size_t got;
    unsigned char head[16];
};

enum { FAILED = -1, WAITS, DONE }; /* what a step says of itself */

static int outcome(const struct guest *guest, int result) {
    return result > 0 ? DONE : SSL_get_error(guest->ssl, result) == SSL_ERROR_WANT_READ ? WAITS : FAILED;
}

static int take(struct guest *guest, unsigned char *to, size_t wanted) {
    while (guest->got < wanted) {
        int some = SSL_read(guest->ssl, to + guest->got, (int)(wanted - guest->got));
        if (some <= 0)
            return outcome(guest, some);
        guest->got += (size_t)some;
    }
    guest->got = 0;
    return DONE;
}

static int guest_accept(struct guest *guest) { return outcome(guest, SSL_accept(guest->ssl)); }
static int guest_head(struct guest *guest) { return take(guest, guest->head, sizeof guest->head); }

static int guest_upload(struct guest *guest) {
    unsigned long long size = big_endian(guest->head + 8);
    return size <= sizeof buffer ? take(guest, (unsigned char *)buffer, size) : FAILED;
}

static int guest_answer(struct guest *guest) {
    unsigned long long size = big_endian(guest->head);
    if (size > sizeof buffer || outcome(guest, SSL_write(guest->ssl, buffer, (int)size)) != DONE)
        return FAILED;
    return SSL_shutdown(guest->ssl) < 0 ? FAILED : DONE;
}

static int guest_connect(struct guest *guest) { return outcome(guest, SSL_connect(guest->ssl)); }

static int guest_ask(struct guest *guest) {
    unsigned char request[16 + MESSAGE] = {[7] = MESSAGE, [15] = MESSAGE};
    return outcome(guest, SSL_write(guest->ssl, request, sizeof request));
}

static int guest_answered(struct guest *guest) { return take(guest, (unsigned char *)buffer, MESSAGE); }

static int guest_end(struct guest *guest) {
    int result = SSL_read(guest->ssl, buffer, sizeof buffer);
    return SSL_get_error(guest->ssl, result) == SSL_ERROR_ZERO_RETURN ? DONE
           : result > 0                                               ? FAILED
                                                                      : outcome(guest, result);
}

static int (*const server_steps[])(struct guest *) = {guest_accept, guest_head, guest_upload, guest_answer, NULL};
static int (*const client_steps[])(struct guest *) = {guest_connect, guest_ask, guest_answered, guest_end, NULL};

/* Takes what steps it can. When it says something else than WAITS the guest is gone. */
static int go_on(struct guest *guest) {
    int how = DONE;
    ERR_clear_error();
    while (how == DONE && *guest->step)
        if ((how = (*guest->step)(guest)) == DONE)
            guest->step++;
    if (how == WAITS)
        return WAITS;
    close(SSL_get_fd(guest->ssl));
    SSL_free(guest->ssl);
    free(guest);
    return how;
}

/* What it has to read moves it; it never has more to write than its socket takes. */
static struct guest *welcome(int epoll, SSL *ssl, int (*const *steps)(struct guest *)) {
    struct guest *guest = calloc(1, sizeof *guest);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = guest};
    int fd = SSL_get_fd(ssl);
    if (!guest || fcntl(fd, F_SETFL, O_NONBLOCK) || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
        die("epoll");
    guest->ssl = ssl;
    guest->step = steps;
    return guest;
}

static void serve_crowd(SSL_CTX *ctx, int listener) {
    int one = 1, epoll = epoll_create1(0);
    struct epoll_event events[64] = {{.events = EPOLLIN}}; /* the listener is who has no pointer */
    if (fcntl(listener, F_SETFL, O_NONBLOCK) || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, events))
        die("epoll");
    for (;;) {
        int count = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr) {
                go_on(events[i].data.ptr);
                continue;
            }
            for (int fd; (fd = accept(listener, NULL, NULL)) >= 0;) {
                SSL *ssl = SSL_new(ctx);
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                SSL_set_fd(ssl, fd);
                welcome(epoll, ssl, server_steps);
            }
        }
    }
}

static void serve(int port, const char *cert, const char *key, int crowd) {
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons((unsigned short)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (!ctx || SSL_CTX_use_certificate_chain_file(ctx, cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
        die("certificate");
    if (bind(listener, (struct sockaddr *)&addr, sizeof addr) || listen(listener, 1024))
        die("listen");
    puts("ready");
    fflush(stdout);
    if (crowd)
        serve_crowd(ctx, listener);
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
    return ssl;
}

/* `at_once` of them under way, until all were; each asks once. */
static void handshakes(SSL_CTX *ctx, int port, long left, long at_once) {
    int epoll = epoll_create1(0);
    long open = 0, ended[3] = {0}, *of = ended + 1; /* by how they ended */
    struct epoll_event events[64];
    while (left || open) {
        for (; left && open < at_once; left--) {
            int how = go_on(welcome(epoll, join(ctx, port), client_steps)); /* says hello, and waits */
            of[how]++;
            open += how == WAITS;
        }
        int count = open ? epoll_wait(epoll, events, 64, -1) : 0;
        for (int i = 0; i < count; i++) {
            int how = go_on(events[i].data.ptr);
            of[how]++;
            open -= how != WAITS;
        }
    }
    printf("handshakes %ld %ld\n", of[DONE], of[FAILED]);
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
        serve(port, argv[3], argv[4], argc > 5);
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
        if (SSL_connect(ssl) != 1)
            die("handshake");
        puts("begin");
        began = seconds();
        ask(ssl, strtoull(argv[5], NULL, 10), strtoull(argv[6], NULL, 10));
    } else {
        puts("begin");
        began = seconds();
        handshakes(ctx, port, strtol(argv[5], NULL, 10), strtol(argv[6], NULL, 10));
    }
    printf("end %.6f\n", seconds() - began);
    return 0;
}
