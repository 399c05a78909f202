/* test_addr.c - addresses between the core, the system and text. */
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>

#include "io/addr.h"
#include "unit.h"

static const struct {
    const char *text;
    uint16_t port;         /* for texts without one */
    const char *formatted; /* NULL: no literal */
} literals[] = {
    {"192.0.2.1", 443, "192.0.2.1:443"},
    {"192.0.2.1:8443", 443, "192.0.2.1:8443"},
    {"0.0.0.0:0", 443, "0.0.0.0:0"},
    {"::1", 443, "[::1]:443"},
    {"::", 1, "[::]:1"},
    {"[::1]", 443, "[::1]:443"},
    {"[2001:db8::1]:65535", 443, "[2001:db8::1]:65535"},
    {"2001:DB8:0:0:0:0:0:1", 443, "[2001:db8::1]:443"},
    {"::ffff:192.0.2.1", 443, "192.0.2.1:443"}, /* one peer has one form */
    {"[::ffff:192.0.2.1]:80", 443, "192.0.2.1:80"},
    {"fe80::1%lo", 443, "[fe80::1%lo]:443"},
    {"[fe80::1%lo]:80", 443, "[fe80::1%lo]:80"},
    {"fe80::1%4294967295", 443, "[fe80::1%4294967295]:443"},
    {"fe80::1", 443, "[fe80::1]:443"},
    {"", 443, NULL},
    {"localhost", 443, NULL},
    {"example.com:443", 443, NULL},
    {"192.0.2", 443, NULL},
    {"192.0.2.1:", 443, NULL},
    {"192.0.2.1:65536", 443, NULL},
    {"192.0.2.1:+1", 443, NULL},
    {"192.0.2.1: 1", 443, NULL},
    {"192.0.2.1:1x", 443, NULL},
    {"192.0.2.1:99999999999999999999999", 443, NULL},
    {"192.0.2.1%lo", 443, NULL},
    {"[192.0.2.1]:443", 443, NULL}, /* brackets are IPv6's (RFC 3986 3.2.2) */
    {"[::1", 443, NULL},
    {"::1]", 443, NULL},
    {"[::1]443", 443, NULL},
    {"[::1]:", 443, NULL},
    {"[]", 443, NULL},
    {"[", 443, NULL},
    {":", 443, NULL},
    {":443", 443, NULL},
    {"::1%lo", 443, NULL}, /* a scope belongs to link-local addresses */
    {"fe80::1%", 443, NULL},
    {"fe80::1%0", 443, NULL},
    {"fe80::1%nosuchinterface", 443, NULL},
    {"fe80::1%4294967296", 443, NULL},
    {"1111:2222:3333:4444:5555:6666:7777:8888:9999", 443, NULL},
    {"[1111:2222:3333:4444:5555:6666:7777:8888%interfacename15]:65535xxxxxxx", 443, NULL},
};

START_TEST(test_literals)
{
    struct quic_addr addr = {.family = 99};
    bool ok = io_addr_parse(literals[_i].text, literals[_i].port, &addr);
    ck_assert_msg(ok == (literals[_i].formatted != NULL), "%s", literals[_i].text);
    if (!ok) {
        ck_assert_uint_eq(addr.family, 99);
        return;
    }
    char text[IO_ADDR_TEXT];
    io_addr_format(&addr, text);
    ck_assert_str_eq(text, literals[_i].formatted);
    struct quic_addr again;
    ck_assert(io_addr_parse(text, 0, &again));
    ck_assert(quic_addr_equal(&addr, &again));
}
END_TEST

START_TEST(test_sockaddr_and_back)
{
    static const char *const texts[] = {"192.0.2.1:443", "[2001:db8::1]:443", "[fe80::1%lo]:1"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct quic_addr addr, plain, mapped;
        ck_assert(io_addr_parse(texts[i], 0, &addr));
        struct sockaddr_storage storage;
        socklen_t len = io_addr_to_sockaddr(&addr, &storage);
        ck_assert_uint_eq(len, addr.family == 4 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
        ck_assert_int_eq(storage.ss_family, addr.family == 4 ? AF_INET : AF_INET6);
        ck_assert(io_addr_from_sockaddr((const struct sockaddr *)&storage, &plain));
        ck_assert(quic_addr_equal(&addr, &plain));
        len = io_addr_to_mapped(&addr, &storage);
        ck_assert_uint_eq(len, sizeof(struct sockaddr_in6));
        ck_assert_int_eq(storage.ss_family, AF_INET6);
        ck_assert(io_addr_from_sockaddr((const struct sockaddr *)&storage, &mapped));
        ck_assert(quic_addr_equal(&addr, &mapped));
    }
}
END_TEST

START_TEST(test_bytes_are_network_order)
{
    struct quic_addr addr;
    ck_assert(io_addr_parse("1.2.3.4", 0x1234, &addr));
    struct sockaddr_storage storage;
    io_addr_to_sockaddr(&addr, &storage);
    struct sockaddr_in sin;
    memcpy(&sin, &storage, sizeof sin);
    ck_assert_int_eq(memcmp(&sin.sin_addr, "\x01\x02\x03\x04", 4), 0);
    ck_assert_int_eq(memcmp(&sin.sin_port, "\x12\x34", 2), 0);
    io_addr_to_mapped(&addr, &storage);
    struct sockaddr_in6 sin6;
    memcpy(&sin6, &storage, sizeof sin6);
    ck_assert_int_eq(memcmp(&sin6.sin6_addr, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x01\x02\x03\x04", 16), 0);
}
END_TEST

/* The kernel tells an interface with every address; only link-local ones keep it, or one peer would be two. */
START_TEST(test_scope_only_where_it_belongs)
{
    struct sockaddr_in6 in = {.sin6_family = AF_INET6, .sin6_scope_id = 7};
    struct quic_addr addr;
    in.sin6_addr.s6_addr[0] = 0x20;
    ck_assert(io_addr_from_sockaddr((const struct sockaddr *)&in, &addr));
    ck_assert_uint_eq(addr.scope, 0);
    in.sin6_addr.s6_addr[0] = 0xfe;
    in.sin6_addr.s6_addr[1] = 0xbf;
    ck_assert(io_addr_from_sockaddr((const struct sockaddr *)&in, &addr));
    ck_assert_uint_eq(addr.scope, 7);
}
END_TEST

START_TEST(test_other_families)
{
    struct sockaddr_storage storage = {.ss_family = AF_UNIX};
    struct quic_addr addr = {0};
    ck_assert(!io_addr_from_sockaddr((const struct sockaddr *)&storage, &addr));
    ck_assert_uint_eq(io_addr_to_sockaddr(&addr, &storage), 0);
    ck_assert_uint_eq(io_addr_to_mapped(&addr, &storage), 0);
    char text[IO_ADDR_TEXT];
    io_addr_format(&addr, text);
    ck_assert_str_eq(text, "none");
}
END_TEST

START_TEST(test_any)
{
    struct quic_addr addr;
    ck_assert(io_addr_parse("0.0.0.0:1", 0, &addr) && io_addr_is_any(&addr));
    ck_assert(io_addr_parse("[::]:1", 0, &addr) && io_addr_is_any(&addr));
    ck_assert(io_addr_parse("[::1]:1", 0, &addr) && !io_addr_is_any(&addr));
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("io/addr");
    TCase *tc = tcase_create("addr");
    tcase_add_loop_test(tc, test_literals, 0, sizeof literals / sizeof literals[0]);
    tcase_add_test(tc, test_sockaddr_and_back);
    tcase_add_test(tc, test_bytes_are_network_order);
    tcase_add_test(tc, test_scope_only_where_it_belongs);
    tcase_add_test(tc, test_other_families);
    tcase_add_test(tc, test_any);
    suite_add_tcase(suite, tc);
    return suite;
}
