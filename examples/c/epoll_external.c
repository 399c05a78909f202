/* epoll_external.c - weft in an event loop that has nothing to do with it, over sockets that are yours.
 *
 * An engine with WEFT_ENGINE_EXTERNAL opens no socket and never waits. The loop does four things with it:
 *
 *     a datagram has come         weft_engine_input
 *     then, or when it is due     weft_engine_turn: here the callbacks run
 *     then                        weft_engine_output, until there is nothing more to send
 *     how long may it sleep?      weft_engine_deadline
 *
 * A server and a client are driven by one loop here, each with an engine and a socket of its own.
 */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weft/weft.h>

struct end {
    weft_engine engine;
    int fd;
    weft_addr local;
};

static struct end server, client;
static int done;

static void check(int64_t result, const char *what) {
    if (result >= 0)
        return;
    fprintf(stderr, "epoll_external: %s: %s\n", what, weft_strerror((int32_t)result));
    exit(1);
}

static void check_system(int result, const char *what) {
    if (result >= 0)
        return;
    perror(what);
    exit(1);
}

/* ---- addresses: weft's are plain, the system's are what they are ---- */

static weft_addr from_system(const struct sockaddr_in *from) {
    weft_addr addr = {.family = 4, .port = ntohs(from->sin_port)};
    memcpy(addr.ip, &from->sin_addr, 4);
    return addr;
}

static struct sockaddr_in to_system(const weft_addr *from) {
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(from->port)};
    memcpy(&addr.sin_addr, from->ip, 4);
    return addr;
}

/* ---- one end ---- */

static void open_end(struct end *end, int epoll) {
    const weft_engine_params params = {.size = sizeof params, .flags = WEFT_ENGINE_EXTERNAL};
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = end};
    socklen_t len = sizeof addr;
    check(weft_engine_new(&params, &end->engine), "engine");
    end->fd = socket(AF_INET, SOCK_DGRAM, 0);
    check_system(end->fd, "socket");
    check_system(bind(end->fd, (struct sockaddr *)&addr, sizeof addr), "bind");
    check_system(getsockname(end->fd, (struct sockaddr *)&addr, &len), "getsockname");
    end->local = from_system(&addr);
    check_system(epoll_ctl(epoll, EPOLL_CTL_ADD, end->fd, &event), "epoll_ctl");
}

static void receive(struct end *end) {
    static unsigned char bytes[65536];
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    ssize_t got;
    while ((got = recvfrom(end->fd, bytes, sizeof bytes, MSG_DONTWAIT, (struct sockaddr *)&from, &len)) >= 0) {
        const weft_datagram datagram = {
            .data = bytes, .len = (size_t)got, .local = end->local, .remote = from_system(&from)};
        check(weft_engine_input(end->engine, &datagram, 1), "input");
        len = sizeof from;
    }
    if (errno != EAGAIN && errno != EWOULDBLOCK)
        check_system(-1, "recvfrom");
}

/* With UDP_SEGMENT one system call could send a whole train; here datagrams are sent one by one: segment is 1. */
static void turn_and_send(struct end *end) {
    static unsigned char bytes[WEFT_TRAIN_SIZE];
    check(weft_engine_turn(end->engine), "turn");
    for (;;) {
        weft_datagram datagram = {.data = bytes, .segment = 1};
        int32_t some = weft_engine_output(end->engine, &datagram);
        check(some, "output");
        if (!some)
            return;
        struct sockaddr_in to = to_system(&datagram.remote);
        /* What the system does not take is lost, as it might be on the way; QUIC sends it again. */
        if (sendto(end->fd, bytes, datagram.len, 0, (struct sockaddr *)&to, sizeof to) < 0 && errno != EAGAIN &&
            errno != ENOBUFS && errno != ECONNREFUSED)
            check_system(-1, "sendto");
    }
}

/* ---- what it is for ---- */

static void echo(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    (void)user;
    for (uint32_t i = 0; i < count; i++)
        check(weft_stream_write(stream, slices[i].data, slices[i].len, 0), "echo");
    if (flags & WEFT_FIN)
        check(weft_stream_finish(stream), "finish");
}

static void connected(void *user, weft_conn conn) {
    weft_stream stream;
    (void)user;
    check(weft_stream_open(conn, WEFT_BIDI, NULL, &stream), "stream");
    check(weft_stream_write(stream, "through my own socket", 21, WEFT_FIN), "write");
}

static void data(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    (void)user;
    for (uint32_t i = 0; i < count; i++)
        if (fwrite(slices[i].data, 1, slices[i].len, stdout) != slices[i].len)
            check(WEFT_E_IO, "stdout");
    if (flags & WEFT_FIN) {
        putchar('\n');
        check(weft_conn_close(weft_stream_conn(stream), 0, NULL), "close");
    }
}

static void closed(void *user, weft_conn conn, const weft_close *close) {
    (void)user;
    (void)conn;
    if (close->cause != WEFT_CAUSE_LOCAL)
        check(WEFT_E_CLOSED, "closed by something else");
    done = 1;
}

/* ---- the loop ---- */

/* For epoll_wait: -1 for ever. Rounded up: too early would find nothing to do, and ask again. */
static int sleep_ms(void) {
    uint64_t first, second;
    check(weft_engine_deadline(server.engine, &first), "deadline");
    check(weft_engine_deadline(client.engine, &second), "deadline");
    uint64_t ns = first < second ? first : second;
    if (ns == UINT64_MAX)
        return -1;
    return ns > UINT64_C(60000000000) ? 60000 : (int)((ns + 999999) / 1000000);
}

int main(void) {
    static const weft_stream_callbacks on_echo = {.size = sizeof on_echo, .on_data = echo};
    static const weft_conn_callbacks on_conn = {.size = sizeof on_conn, .on_connected = connected, .on_closed = closed};
    static const weft_stream_callbacks on_stream = {.size = sizeof on_stream, .on_data = data};
    const weft_listen_params listen = {.size = sizeof listen, .stream_callbacks = &on_echo};
    const weft_connect_params connect = {
        .size = sizeof connect, .server_name = "localhost", .callbacks = &on_conn, .stream_callbacks = &on_stream};
    weft_config server_config, client_config;
    weft_listener listener;
    weft_conn conn;
    char text[WEFT_ADDR_TEXT];
    uint8_t sha256[32];
    int epoll = epoll_create1(0);
    check_system(epoll, "epoll_create1");
    open_end(&server, epoll);
    open_end(&client, epoll);
    check(weft_config_new(WEFT_SERVER, &server_config), "config");
    check(weft_config_set_alpn(server_config, "echo"), "alpn");
    check(weft_config_self_signed(server_config, "localhost", 30), "certificate");
    check(weft_config_fingerprint(server_config, sha256), "fingerprint");
    check(weft_config_new(WEFT_CLIENT, &client_config), "config");
    check(weft_config_set_alpn(client_config, "echo"), "alpn");
    check(weft_config_add_pin(client_config, sha256), "pin");
    check(weft_addr_format(&server.local, text, sizeof text), "address");
    check(weft_listen(server.engine, server_config, text, &listen, &listener), "listen"); /* whose socket we have */
    check(weft_connect(client.engine, client_config, "127.0.0.1", server.local.port, &connect, &conn), "connect");
    while (!done) {
        struct epoll_event events[8];
        int count = epoll_wait(epoll, events, 8, sleep_ms());
        if (count < 0 && errno != EINTR)
            check_system(count, "epoll_wait");
        for (int i = 0; i < count; i++)
            receive(events[i].data.ptr);
        turn_and_send(&server);
        turn_and_send(&client);
    }
    check(weft_engine_free(server.engine), "free");
    check(weft_engine_free(client.engine), "free");
    check(weft_config_free(server_config), "free");
    check(weft_config_free(client_config), "free");
    close(server.fd);
    close(client.fd);
    close(epoll);
    return 0;
}
