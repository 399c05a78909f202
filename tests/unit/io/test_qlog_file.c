/* Files of qlogs: names, order, what a directory that cannot be used says, and that a full queue or a file that fails
 * takes nothing. */
#include "io/qlog_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tables/errors.h"
#include "unit.h"

static char where[64];
static struct io_qlog_dir *dir;

static void setup(void) {
    struct crypto_error why;
    snprintf(where, sizeof where, "/tmp/weft-qlog-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(where));
    ck_assert_int_eq(io_qlog_dir_open(where, &dir, &why), 0);
}

static void teardown(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", where);
    ck_assert_int_eq(system(command), 0);
}

static size_t content(const char *name, char *data, size_t capacity) {
    char path[160];
    snprintf(path, sizeof path, "%s/%s", where, name);
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "%s", path);
    size_t len = fread(data, 1, capacity - 1, file);
    data[len] = 0;
    fclose(file);
    return len;
}

START_TEST(what_is_taken_is_written_in_order)
{
    char text[4096], want[4096] = "";
    struct io_qlog_file *a = io_qlog_file_open(dir, "a"), *b = io_qlog_file_open(dir, "b");
    for (unsigned i = 0; i < 200; i++) {
        char piece[16];
        snprintf(piece, sizeof piece, "%u\n", i);
        strcat(want, piece);
        ck_assert(io_qlog_file_write(a, piece, strlen(piece)));
        ck_assert(io_qlog_file_write(b, "b", 1));
    }
    io_qlog_file_close(a);
    io_qlog_file_close(b);
    io_qlog_dir_close(dir); /* waits */
    content("a.sqlog", text, sizeof text);
    ck_assert_str_eq(text, want);
    ck_assert_uint_eq(content("b.sqlog", text, sizeof text), 200);
}
END_TEST

START_TEST(no_file_is_written_over)
{
    char text[64];
    for (char i = '1'; i <= '3'; i++) {
        struct io_qlog_file *file = io_qlog_file_open(dir, "same");
        ck_assert(io_qlog_file_write(file, &i, 1));
        io_qlog_file_close(file);
    }
    io_qlog_dir_close(dir);
    content("same.sqlog", text, sizeof text);
    ck_assert_str_eq(text, "1");
    content("same-2.sqlog", text, sizeof text);
    ck_assert_str_eq(text, "2");
    content("same-3.sqlog", text, sizeof text);
    ck_assert_str_eq(text, "3");
}
END_TEST

START_TEST(a_queue_that_is_full_takes_nothing)
{
    char *block = calloc(1, IO_QLOG_QUEUE);
    struct io_qlog_file *file = io_qlog_file_open(dir, "big");
    ck_assert(!io_qlog_file_write(file, block, IO_QLOG_QUEUE)); /* with what is there already it is too much */
    ck_assert(io_qlog_file_write(file, block, 1000));
    io_qlog_file_close(file);
    io_qlog_dir_close(dir);
    ck_assert_uint_eq(content("big.sqlog", block, IO_QLOG_QUEUE), 1000);
    free(block);
}
END_TEST

START_TEST(a_file_that_fails_takes_nothing_more)
{
    struct io_qlog_file *file = io_qlog_file_open(dir, "no/such/place");
    while (io_qlog_file_write(file, "x", 1)) /* until the thread has tried */
        continue;
    io_qlog_file_close(file);
    io_qlog_dir_close(dir);
}
END_TEST

START_TEST(directories_that_cannot_be_used)
{
    struct crypto_error why;
    struct io_qlog_dir *other;
    char path[128];
    io_qlog_dir_close(dir);
    ck_assert_int_eq(io_qlog_dir_open("/nowhere/at/all", &other, &why), ERR_IO);
    ck_assert_ptr_nonnull(strstr(why.text, "/nowhere/at/all: No such file"));
    snprintf(path, sizeof path, "%s/file", where);
    fclose(fopen(path, "wb"));
    ck_assert_int_eq(io_qlog_dir_open(path, &other, &why), ERR_IO);
    ck_assert_ptr_nonnull(strstr(why.text, "Not a directory"));
    if (geteuid() != 0) { /* the superuser may write anywhere */
        snprintf(path, sizeof path, "%s/sealed", where);
        ck_assert_int_eq(mkdir(path, 0500), 0);
        ck_assert_int_eq(io_qlog_dir_open(path, &other, &why), ERR_IO);
    }
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("qlog_file");
    TCase *tcase = tcase_create("files");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, what_is_taken_is_written_in_order);
    tcase_add_test(tcase, no_file_is_written_over);
    tcase_add_test(tcase, a_queue_that_is_full_takes_nothing);
    tcase_add_test(tcase, a_file_that_fails_takes_nothing_more);
    tcase_add_test(tcase, directories_that_cannot_be_used);
    suite_add_tcase(suite, tcase);
    return suite;
}
