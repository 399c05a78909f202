/* echo.c - what a round trip costs without any protocol: a datagram of 100 bytes there and back, through epoll.
 *
 *     bench_echo server PORT
 *     bench_echo client PORT COUNT      prints "p50 NS p99 NS"
 *
 * Both sides wait in epoll_wait and use recvfrom and sendto, as the simplest honest program would: this is what a
 * transport's added latency is measured against. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#define MESSAGE 100

static void check(long result, const char *what) {
    if (result >= 0)
        return;
    perror(what);
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * UINT64_C(1000000000) + (uint64_t)at.tv_nsec;
}

static struct sockaddr_in loopback(const char *port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int watch(int fd) {
    struct epoll_event event = {.events = EPOLLIN};
    int epoll = epoll_create1(0);
    check(epoll, "epoll_create1");
    check(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
    return epoll;
}

static void serve(int fd, int epoll) {
    char data[2048];
    struct epoll_event event;
    struct sockaddr_in from;
    for (;;) {
        check(epoll_wait(epoll, &event, 1, -1), "epoll_wait");
        socklen_t len = sizeof from;
        ssize_t got = recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)&from, &len);
        check(got, "recvfrom");
        check(sendto(fd, data, (size_t)got, 0, (struct sockaddr *)&from, len), "sendto");
    }
}

static int by_size(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void ask(int fd, int epoll, const struct sockaddr_in *server, size_t count) {
    char data[MESSAGE] = {0};
    struct epoll_event event;
    uint64_t *times = malloc(count * sizeof *times);
    check(times ? 0 : -1, "malloc");
    for (size_t i = 0; i < count; i++) {
        uint64_t began = now_ns();
        check(sendto(fd, data, sizeof data, 0, (const struct sockaddr *)server, sizeof *server), "sendto");
        check(epoll_wait(epoll, &event, 1, -1), "epoll_wait");
        check(recv(fd, data, sizeof data, 0), "recv");
        times[i] = now_ns() - began;
    }
    qsort(times, count, sizeof *times, by_size);
    printf("p50 %llu p99 %llu\n", (unsigned long long)times[count / 2], (unsigned long long)times[count * 99 / 100]);
    free(times);
}

int main(int argc, char **argv) {
    if (argc < 3 || (strcmp(argv[1], "server") && argc < 4)) {
        fprintf(stderr, "usage: bench_echo server PORT | client PORT COUNT\n");
        return 2;
    }
    struct sockaddr_in server = loopback(argv[2]);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    check(fd, "socket");
    int epoll = watch(fd);
    if (strcmp(argv[1], "server")) {
        ask(fd, epoll, &server, strtoul(argv[3], NULL, 10));
        return 0;
    }
    check(bind(fd, (struct sockaddr *)&server, sizeof server), "bind");
    puts("ready");
    fflush(stdout);
    serve(fd, epoll);
}
