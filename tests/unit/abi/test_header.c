/* Tests of weft.h: it is C99 and C++11 without a warning, and an event keeps its size. */
#include <stdio.h>
#include <unistd.h>

#include "world.h"

#define HEADER_FLAGS "-pedantic -Wall -Wextra -Werror -fsyntax-only -I"

static void compile(const char *compiler, const char *suffix) {
    char include[1024], command[4096], path[] = "/tmp/weft-header-XXXXXX";
    snprintf(include, sizeof include, "%s", __FILE__);
    char *tests = strstr(include, "/tests/unit/abi/");
    ck_assert_ptr_nonnull(tests);
    *tests = 0;
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    static const char text[] = "#include <weft/weft.h>\n#include <weft/weft.h>\n"
                               "typedef char event_has_128_bytes[sizeof(weft_event) == 128 ? 1 : -1];\n";
    ck_assert_int_eq(write(fd, text, sizeof text - 1), sizeof text - 1);
    close(fd);
    snprintf(command, sizeof command, "%s %s %s '%s/abi/include' %s", compiler, suffix, HEADER_FLAGS, include, path);
    int status = system(command);
    unlink(path);
    ck_assert_msg(status == 0, "%s", command);
}

START_TEST(c99)
{ compile("cc", "-std=c99 -x c"); }
END_TEST

START_TEST(cpp11)
{ compile("c++", "-std=c++11 -x c++"); }
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("abi/header");
    TCase *tests = tcase_create("header");
    tcase_add_test(tests, c99);
    tcase_add_test(tests, cpp11);
    suite_add_tcase(suite, tests);
    return suite;
}
