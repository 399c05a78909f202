/* test_resolve.c - names to addresses. The system's resolver is stood in for: what a name means is written below. */
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>

#include "io/addr.h"
#include "io/resolve.h"
#include "tables/errors.h"
#include "unit.h"

/* ---- the system's resolver ---- */

static const struct {
    const char *name;
    int error;
    const char *addrs[40];
} names[] = {
    {"both.test", 0, {"2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1", "192.0.2.2"}},
    {"four.test", 0, {"192.0.2.1", "192.0.2.2"}},
    {"twice.test", 0, {"192.0.2.1", "2001:db8::1", "192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1"}},
    {"none.test", EAI_NONAME, {NULL}},
    {"empty.test", 0, {NULL}},
    {"memory.test", EAI_MEMORY, {NULL}},
    {"many.test", 0, {"2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4",  "2001:db8::5", "2001:db8::6",
                      "2001:db8::7", "2001:db8::8", "2001:db8::9", "2001:db8::a",  "2001:db8::b", "2001:db8::c",
                      "2001:db8::d", "2001:db8::e", "2001:db8::f", "2001:db8::10", "192.0.2.1",   "192.0.2.2",
                      "192.0.2.3",   "192.0.2.4",   "192.0.2.5",   "192.0.2.6",    "192.0.2.7",   "192.0.2.8",
                      "192.0.2.9",   "192.0.2.10",  "192.0.2.11"}},
};

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER; /* held: the resolver does not answer */
static int family_asked, socktype_asked;

__attribute__((visibility("default"))) int getaddrinfo(const char *restrict host, const char *restrict service,
                                                       const struct addrinfo *restrict hints,
                                                       struct addrinfo **restrict result);
__attribute__((visibility("default"))) void freeaddrinfo(struct addrinfo *list);

int getaddrinfo(const char *restrict host, const char *restrict service, const struct addrinfo *restrict hints,
                struct addrinfo **restrict result) {
    (void)service;
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    family_asked = hints->ai_family;
    socktype_asked = hints->ai_socktype;
    *result = NULL;
    struct addrinfo **tail = result;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(host, names[i].name) != 0)
            continue;
        for (const char *const *text = names[i].addrs; *text; text++) {
            struct quic_addr addr;
            io_addr_parse(*text, 0, &addr);
            struct {
                struct addrinfo info;
                struct sockaddr_storage storage;
            } *entry = calloc(1, sizeof *entry);
            entry->info.ai_addrlen = io_addr_to_sockaddr(&addr, &entry->storage);
            if (strncmp(*text, "::ffff:", 7) == 0)
                entry->info.ai_addrlen = io_addr_to_mapped(&addr, &entry->storage);
            entry->info.ai_addr = (struct sockaddr *)&entry->storage;
            *tail = &entry->info;
            tail = &entry->info.ai_next;
        }
        return names[i].error;
    }
    return EAI_FAIL;
}

void freeaddrinfo(struct addrinfo *list) {
    while (list) {
        struct addrinfo *next = list->ai_next;
        free(list);
        list = next;
    }
}

/* ---- a loop that asks ---- */

static struct base_mem mem;
static struct io_loop loop;
static struct io_resolve *resolve;
static struct {
    unsigned calls, count;
    int status;
    bool in_start;
    char text[160];
    struct quic_addr addrs[IO_RESOLVE_MAX];
} answer;

static void on_answer(void *user, int status, const char *text, const struct quic_addr *addrs, unsigned count) {
    ck_assert_ptr_eq(user, &answer);
    ck_assert(!answer.in_start);
    ck_assert_uint_le(count, IO_RESOLVE_MAX);
    answer.calls++;
    answer.status = status;
    answer.count = count;
    ck_assert((text != NULL) == (status != 0));
    if (text)
        strcpy(answer.text, text);
    if (count)
        memcpy(answer.addrs, addrs, count * sizeof *addrs);
    io_loop_stop(&loop);
}

static void open_loop(bool external) {
    base_mem_init(&mem, 0);
    struct io_loop_open open = {.mem = &mem, .external = external, .features = IO_UDP_ALL};
    ck_assert_int_eq(io_loop_init(&loop, &open, NULL), 0);
    memset(&answer, 0, sizeof answer);
}

static void setup(void) { open_loop(false); }

static void teardown(void) {
    io_loop_close(&loop, NULL, NULL);
    ck_assert_uint_eq(mem.used, 0);
}

static int ask(const char *host, uint16_t port, uint8_t family) {
    memset(&answer, 0, sizeof answer);
    answer.in_start = true;
    int result = io_resolve_start(&loop, host, port, family, on_answer, &answer, &resolve);
    answer.in_start = false;
    return result;
}

static void ask_and_wait(const char *host, uint16_t port, uint8_t family) {
    ck_assert_int_eq(ask(host, port, family), 0);
    ck_assert_uint_eq(answer.calls, 0);
    ck_assert_int_eq(io_loop_run(&loop), 0);
    ck_assert_uint_eq(answer.calls, 1);
}

static void check_answer(unsigned count, const char *const *texts) {
    ck_assert_int_eq(answer.status, 0);
    ck_assert_uint_eq(answer.count, count);
    for (unsigned i = 0; i < count; i++) {
        char text[IO_ADDR_TEXT];
        io_addr_format(&answer.addrs[i], text);
        ck_assert_str_eq(text, texts[i]);
    }
}

START_TEST(test_families_take_turns)
{
    ask_and_wait("both.test", 443, 0);
    check_answer(5, (const char *const[]){"[2001:db8::1]:443", "192.0.2.1:443", "[2001:db8::2]:443", "192.0.2.2:443",
                                          "[2001:db8::3]:443"});
    ck_assert_int_eq(family_asked, AF_UNSPEC);
    ck_assert_int_eq(socktype_asked, SOCK_DGRAM);
    ask_and_wait("four.test", 80, 0);
    check_answer(2, (const char *const[]){"192.0.2.1:80", "192.0.2.2:80"});
}
END_TEST

START_TEST(test_family_is_asked_for)
{
    ask_and_wait("four.test", 443, 4);
    ck_assert_int_eq(family_asked, AF_INET);
    ask_and_wait("four.test", 443, 6);
    ck_assert_int_eq(family_asked, AF_INET6);
}
END_TEST

START_TEST(test_each_address_once)
{
    ask_and_wait("twice.test", 443, 0);
    check_answer(2, (const char *const[]){"192.0.2.1:443", "[2001:db8::1]:443"});
}
END_TEST

/* A name with a hundred addresses of one family does not hide the other. */
START_TEST(test_many)
{
    ask_and_wait("many.test", 443, 0);
    ck_assert_uint_eq(answer.count, IO_RESOLVE_MAX);
    for (unsigned i = 0; i < answer.count; i++)
        ck_assert_uint_eq(answer.addrs[i].family, i % 2 ? 4 : 6);
}
END_TEST

START_TEST(test_failures)
{
    ask_and_wait("none.test", 443, 0);
    ck_assert_int_eq(answer.status, ERR_RESOLVE);
    ck_assert_str_ne(answer.text, "");
    ask_and_wait("empty.test", 443, 0);
    ck_assert_int_eq(answer.status, ERR_RESOLVE);
    ask_and_wait("memory.test", 443, 0);
    ck_assert_int_eq(answer.status, ERR_NOMEM);
    ck_assert_int_eq(ask("", 443, 0), ERR_RESOLVE);
    char longest[2000];
    memset(longest, 'a', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    ck_assert_int_eq(ask(longest, 443, 0), ERR_RESOLVE);
    ck_assert_ptr_null(resolve);
}
END_TEST

START_TEST(test_literal)
{
    ask_and_wait("192.0.2.7", 443, 0);
    check_answer(1, (const char *const[]){"192.0.2.7:443"});
    ask_and_wait("[2001:db8::7]:8443", 443, 6);
    check_answer(1, (const char *const[]){"[2001:db8::7]:8443"});
    ck_assert_int_eq(ask("192.0.2.7", 443, 6), ERR_ADDRESS);
}
END_TEST

START_TEST(test_cancel)
{
    /* a literal; a question under way; one that is still in the queue behind those */
    ck_assert_int_eq(ask("192.0.2.7", 443, 0), 0);
    io_resolve_cancel(resolve);
    pthread_mutex_lock(&gate);
    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(ask("both.test", 443, 0), 0);
        io_resolve_cancel(resolve);
    }
    io_loop_turn(&loop);
    pthread_mutex_unlock(&gate);
    ck_assert_int_eq(io_loop_run(&loop), 0); /* ends when the resolver has given all back */
    ck_assert_uint_eq(answer.calls, 0);
}
END_TEST

/* The loop's end waits for what the resolver still holds. */
START_TEST(test_close_while_asking)
{
    ck_assert_int_eq(ask("both.test", 443, 0), 0);
    io_resolve_cancel(resolve);
}
END_TEST

START_TEST(test_external)
{
    teardown();
    open_loop(true);
    ck_assert_int_eq(ask("both.test", 443, 0), ERR_UNSUPPORTED);
    ck_assert_int_eq(ask("192.0.2.7", 443, 0), 0);
    ck_assert_uint_eq(io_loop_deadline(&loop), 0);
    ck_assert_int_eq(io_loop_turn(&loop), 1);
    ck_assert_uint_eq(answer.calls, 1);
}
END_TEST

static const struct {
    const char *before, *after; /* families */
} orders[] = {
    {"", ""},           {"6", "6"},           {"66", "66"},         {"64", "64"},
    {"6644", "6464"},   {"4466", "4646"},     {"664", "646"},       {"66664", "64666"},
    {"46664", "46466"}, {"444466", "464644"}, {"646464", "646464"},
};

START_TEST(test_interleave)
{
    struct quic_addr addrs[8] = {{0}};
    unsigned count = (unsigned)strlen(orders[_i].before);
    for (unsigned i = 0; i < count; i++)
        addrs[i] = (struct quic_addr){.family = (uint8_t)(orders[_i].before[i] - '0'), .port = (uint16_t)i};
    io_resolve_interleave(addrs, count);
    unsigned last[10] = {0};
    for (unsigned i = 0; i < count; i++) {
        ck_assert_uint_eq(addrs[i].family, (unsigned)(orders[_i].after[i] - '0'));
        ck_assert_uint_le(last[addrs[i].family], addrs[i].port); /* each family keeps its order */
        last[addrs[i].family] = addrs[i].port;
    }
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("io/resolve");
    TCase *tc = tcase_create("resolve");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_families_take_turns);
    tcase_add_test(tc, test_family_is_asked_for);
    tcase_add_test(tc, test_each_address_once);
    tcase_add_test(tc, test_many);
    tcase_add_test(tc, test_failures);
    tcase_add_test(tc, test_literal);
    tcase_add_test(tc, test_cancel);
    tcase_add_test(tc, test_close_while_asking);
    tcase_add_test(tc, test_external);
    tcase_add_loop_test(tc, test_interleave, 0, sizeof orders / sizeof orders[0]);
    suite_add_tcase(suite, tc);
    return suite;
}
