/* `weft qlog`: whatever a file holds, it is read to its end or to a message, its curves fit together and its picture
 * can be drawn. The first byte says in which pieces the input comes, which trace is wanted, and in which colours it is
 * drawn. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../abi/cli/qlog.h"
#include "pieces.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct qlog_trace *trace, size_t size) {
    (void)size; /* without asserts */
    for (unsigned i = 0; i < QLOG_CURVES; i++) {
        const struct qlog_curve *curve = &trace->curves[i];
        assert(curve->count <= size); /* each point was told by something in the file */
        for (size_t n = 1; n < curve->count; n++)
            assert(curve->time[n] >= curve->time[n - 1]);
    }
    assert(trace->end >= trace->start);
    assert(memchr(trace->title, 0, sizeof trace->title) && memchr(trace->closed, 0, sizeof trace->closed));
    assert(memchr(trace->role, 0, sizeof trace->role) && memchr(trace->group, 0, sizeof trace->group));
}

/* Without words of the file there is none in the picture that looks like a number that is none. */
static void draw(const struct qlog_trace *trace, enum qlog_theme theme, bool wordless) {
    (void)wordless; /* without asserts */
    char *svg = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&svg, &len);
    assert(out);
    qlog_svg(trace, theme, out);
    fclose(out);
    assert(len > 6 && memcmp(svg + len - 7, "</svg>\n", 7) == 0);
    assert(!wordless || (!strstr(svg, "nan") && !strstr(svg, "inf ")));
    free(svg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size)
        return 0;
    struct input input = {data + 1, size - 1, (size_t)(data[0] & 31) * 40 + 1};
    struct qlog_trace trace = {.seen = false};
    char why[200];
    unsigned traces = qlog_read_from(give, &input, 1 + (data[0] >> 7), &trace, why, sizeof why);
    (void)traces;
    assert(traces || *why);
    assert(!trace.damaged == !*why || !traces);
    check(&trace, size);
    if (trace.seen) {
        enum qlog_theme theme = (enum qlog_theme)(data[0] >> 5 & 1);
        draw(&trace, theme, false);
        *trace.title = *trace.role = *trace.group = *trace.closed = 0;
        draw(&trace, theme, true);
    }
    qlog_trace_free(&trace);
    return 0;
}
