/* qlog_svg.c - curves to a picture: data, window and round-trip time, one above the other, over one axis of time.
 *
 * Hundred thousands of points become a few for each column of pixels - the first, the least, the greatest and the last
 * - so nothing that can be seen is lost and the file stays small. Colours are told apart by people who do not see all
 * of them, and every curve has a line of its own kind too. Light or dark, or as the reader's browser has it.
 *
 * The invariant that matters: nothing from the file reaches the picture but numbers and escaped text.
 */
#include <math.h>
#include <string.h>

#include "qlog.h"

#define WIDTH 1000.0
#define LEFT 86.0
#define RIGHT 24.0
#define TOP 84.0
#define PANEL 210.0 /* height of the drawing area of each */
#define GAP 62.0
#define COLUMNS 890   /* pixels of the area */
#define HEADROOM 1.12 /* above the greatest value; marks of losses stand there */
#define LETTER 8.0    /* about the width of one of 13 pixels, in the widest of the usual fonts */

struct axis {
    double from, to, step;
};

struct kind { /* how a curve is drawn */
    enum qlog_curve_name curve;
    const char *class, *name;
    bool steps; /* the value holds until the next one */
    bool area;
};

struct panel {
    const char *title;
    bool bytes; /* else ms */
    struct kind kinds[4];
    unsigned count;
};

static const struct panel panels[] = {
    {"Data of streams",
     true,
     {{QLOG_SENT, "sent", "sent", true, false},
      {QLOG_ACKED, "acked", "acknowledged", true, false},
      {QLOG_RECEIVED, "received", "received", true, false}},
     3},
    {"Congestion window",
     true,
     {{QLOG_FLIGHT, "flight", "bytes in flight", true, true},
      {QLOG_WINDOW, "window", "congestion window", true, false}},
     2},
    {"Round-trip time",
     false,
     {{QLOG_LATEST, "latest", "latest", true, false},
      {QLOG_SMOOTHED, "smoothed", "smoothed", true, false},
      {QLOG_LEAST, "least", "minimum", true, false}},
     3},
};
#define PANELS (sizeof panels / sizeof *panels)

/* ---- colours ---- */

struct colour {
    const char *selector, *light, *dark;
};

static const struct colour colours[] = {
    {".paper{fill:%s}", "#ffffff", "#14171c"},      {"text{fill:%s}", "#1f2937", "#e5e7eb"},
    {".faint{fill:%s}", "#6b7280", "#9ca3af"},      {".grid{stroke:%s}", "#e5e7eb", "#2a303a"},
    {".frame{stroke:%s}", "#9ca3af", "#4b5563"},    {".sent{stroke:%s}", "#2563eb", "#60a5fa"},
    {".acked{stroke:%s}", "#059669", "#34d399"},    {".received{stroke:%s}", "#9333ea", "#c084fc"},
    {".window{stroke:%s}", "#1d4ed8", "#60a5fa"},   {".flight{stroke:%s}", "#e69f00", "#d99a20"},
    {".flightfill{fill:%s}", "#e69f00", "#d99a20"}, {".latest{stroke:%s}", "#d1a8c4", "#7d5a72"},
    {".smoothed{stroke:%s}", "#a21560", "#f472b6"}, {".least{stroke:%s}", "#4b5563", "#9ca3af"},
    {".lost{stroke:%s}", "#dc2626", "#f87171"},
};

static void write_colours(FILE *out, bool dark) {
    for (size_t i = 0; i < sizeof colours / sizeof *colours; i++) {
        const char *mark = strstr(colours[i].selector, "%s");
        fprintf(out, "%.*s%s%s\n", (int)(mark - colours[i].selector), colours[i].selector,
                dark ? colours[i].dark : colours[i].light, mark + 2);
    }
}

static void write_style(FILE *out, enum qlog_theme theme) {
    fputs("<style>\n"
          "text{font-family:system-ui,-apple-system,\"Segoe UI\",Roboto,\"Helvetica "
          "Neue\",Arial,sans-serif;font-size:13px}\n"
          ".title{font-size:20px;font-weight:600}.head{font-size:15px;font-weight:600}\n"
          ".end{text-anchor:end}.middle{text-anchor:middle}\n"
          "path,line,rect.frame{fill:none}\n"
          ".grid{stroke-width:1}.frame{stroke-width:1}\n"
          ".curve{stroke-width:1.8;stroke-linejoin:round}\n"
          ".latest{stroke-width:1}.acked{stroke-dasharray:7 3}.least{stroke-width:1.4;stroke-dasharray:2 3}\n"
          ".received{stroke-dasharray:10 3 2 3}.flight{stroke-width:1}\n"
          "path.flightfill{fill-opacity:.28;stroke:none}rect.flightfill{fill-opacity:.28}\n"
          ".lost{stroke-width:1.4}\n",
          out);
    write_colours(out, theme == QLOG_DARK);
    if (theme == QLOG_AUTO) {
        fputs("@media (prefers-color-scheme:dark){\n", out);
        write_colours(out, true);
        fputs("}\n", out);
    }
    fputs("path.curve{fill:none}\n</style>\n", out);
}

/* ---- axes ---- */

#define LINES_MOST 50u /* where numbers are so large that a step is lost in them, this ends the row */

/* A step of 1, 2 or 5 times a power of ten (of `unit`), so that about `lines` of them fit. */
static double nice_step(double span, double unit, double lines) {
    double rough = span / unit / lines, power = pow(10, floor(log10(rough)));
    double digit = rough / power;
    return (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10) * power * unit;
}

static double byte_unit(double most) {
    return most >= 1 << 30 ? 1 << 30 : most >= 1 << 20 ? 1 << 20 : most >= 1 << 10 ? 1 << 10 : 1;
}

static struct axis value_axis(double most, bool bytes) {
    struct axis axis = {0, most > 0 ? most * HEADROOM : 1, 0};
    axis.step = nice_step(axis.to, bytes ? byte_unit(most) : 1, 5);
    return axis;
}

static void value_text(double value, const struct axis *axis, bool bytes, char text[32]) {
    static const char *const names[] = {"B", "KiB", "MiB", "GiB"};
    double unit = bytes ? byte_unit(axis->to / HEADROOM) : 1;
    unsigned name = unit >= 1 << 30 ? 3 : unit >= 1 << 20 ? 2 : unit >= 1 << 10 ? 1 : 0;
    snprintf(text, 32, "%.6g %s", value / unit, bytes ? names[name] : "ms");
}

/* Seconds when there are some. */
static void time_text(double ms, const struct axis *axis, char text[32]) {
    bool seconds = axis->to - axis->from >= 2000;
    snprintf(text, 32, "%.6g %s", fabs(ms) < axis->step / 1000 ? 0 : seconds ? ms / 1000 : ms, seconds ? "s" : "ms");
}

static double x_of(double time, const struct axis *times) {
    return LEFT + (time - times->from) / (times->to - times->from) * COLUMNS;
}

static double y_of(double value, const struct axis *axis, double top) {
    return top + PANEL - (value - axis->from) / (axis->to - axis->from) * PANEL;
}

/* ---- text ---- */

static void escaped(FILE *out, const char *text) {
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '&' || c == '<' || c == '>' || c == '"')
            fprintf(out, "&#%u;", c);
        else if (c >= 0x20 && c < 0x7f)
            fputc(c, out);
        else
            fputc('?', out); /* what it is in UTF-8 nobody has checked */
    }
}

/* ---- curves ---- */

struct column { /* the points of one column of pixels */
    int at;
    double first, least, greatest, last;
};

static void flush_column(FILE *out, const struct column *column, const struct axis *axis, double top, bool begun) {
    double x = LEFT + column->at, first = y_of(column->first, axis, top), last = y_of(column->last, axis, top);
    fprintf(out, begun ? "H%.0fV%.1f" : "M%.0f %.1f", x, first);
    if (column->least < column->first || column->least < column->last)
        fprintf(out, "V%.1f", y_of(column->least, axis, top));
    if (column->greatest > column->first || column->greatest > column->last)
        fprintf(out, "V%.1f", y_of(column->greatest, axis, top));
    fprintf(out, "V%.1f", last);
}

/* The path's data, from the first point to the end of time. */
static void curve_path(FILE *out, const struct qlog_curve *curve, const struct axis *times, const struct axis *axis,
                       double top) {
    struct column column = {.at = -1};
    bool begun = false;
    for (size_t i = 0; i < curve->count; i++) {
        double v = curve->value[i];
        int at = (int)(x_of(curve->time[i], times) - LEFT);
        at = at < 0 ? 0 : at > COLUMNS ? COLUMNS : at;
        if (at != column.at) {
            if (column.at >= 0) {
                flush_column(out, &column, axis, top, begun);
                begun = true;
            }
            column = (struct column){at, v, v, v, v};
        }
        column.least = v < column.least ? v : column.least;
        column.greatest = v > column.greatest ? v : column.greatest;
        column.last = v;
    }
    flush_column(out, &column, axis, top, begun);
    fprintf(out, "H%.0f", LEFT + COLUMNS);
}

static void draw_curve(FILE *out, const struct qlog_curve *curve, const struct kind *kind, const struct axis *times,
                       const struct axis *axis, double top) {
    if (!curve->count)
        return;
    if (kind->area) {
        fprintf(out, "<path class=\"%sfill\" d=\"", kind->class);
        curve_path(out, curve, times, axis, top);
        fprintf(out, "V%.1fH%.1fZ\"/>\n", top + PANEL, floor(x_of(curve->time[0], times)));
    }
    fprintf(out, "<path class=\"curve %s\" d=\"", kind->class);
    curve_path(out, curve, times, axis, top);
    fputs("\"/>\n", out);
}

/* Marks at the lower edge: one for each column in which packets were lost, the taller the more. */
static void draw_losses(FILE *out, const struct qlog_curve *lost, const struct axis *times, double top) {
    for (size_t i = 0; i < lost->count;) {
        int at = (int)x_of(lost->time[i], times);
        size_t from = i;
        while (i < lost->count && (int)x_of(lost->time[i], times) == at)
            i++;
        double size = 3.5 + fmin(4, log2((double)(i - from)));
        fprintf(out, "<path class=\"lost\" d=\"M%.1f %.1fl%.1f %.1fm0 %.1fl%.1f %.1f\"/>\n", at - size, top + 9 - size,
                2 * size, 2 * size, -2 * size, -2 * size, 2 * size);
    }
}

/* ---- panels ---- */

static double most_of(const struct qlog_trace *trace, const struct panel *panel) {
    double most = 0;
    for (unsigned k = 0; k < panel->count; k++) {
        const struct qlog_curve *curve = &trace->curves[panel->kinds[k].curve];
        for (size_t i = 0; i < curve->count; i++)
            most = curve->value[i] > most ? curve->value[i] : most;
    }
    return most;
}

static void draw_grid(FILE *out, const struct axis *times, const struct axis *axis, bool bytes, double top,
                      bool bottom) {
    char text[32];
    for (unsigned i = 0; i < LINES_MOST && i * axis->step <= axis->to; i++) {
        double v = i * axis->step;
        double y = floor(y_of(v, axis, top)) + 0.5;
        value_text(v, axis, bytes, text);
        fprintf(out, "<line class=\"grid\" x1=\"%.0f\" x2=\"%.0f\" y1=\"%.1f\" y2=\"%.1f\"/>", LEFT, LEFT + COLUMNS, y,
                y);
        fprintf(out, "<text class=\"end faint\" x=\"%.0f\" y=\"%.1f\">%s</text>\n", LEFT - 8, y + 4.5, text);
    }
    for (unsigned i = 0; i < LINES_MOST && times->from + i * times->step <= times->to + times->step / 1000; i++) {
        double t = times->from + i * times->step;
        double x = floor(x_of(t, times)) + 0.5;
        fprintf(out, "<line class=\"grid\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.0f\" y2=\"%.0f\"/>\n", x, x, top,
                top + PANEL);
        time_text(t - times->from, times, text);
        if (bottom)
            fprintf(out, "<text class=\"middle faint\" x=\"%.1f\" y=\"%.0f\">%s</text>\n", x, top + PANEL + 20, text);
    }
}

/* How wide a text will be: nobody knows the reader's font. */
static double width_of(const char *text) {
    double width = 0;
    for (; *text; text++)
        width += strchr("mw", *text) ? 1.55 : strchr("ijlft ()1", *text) ? 0.6 : 1;
    return width * LETTER;
}

/* From the right edge to the left, above the panel. */
static void draw_legend(FILE *out, const struct qlog_trace *trace, const struct panel *panel, double top) {
    double x = LEFT + COLUMNS, y = top - 12;
    char name[64];
    if (panel->kinds[0].curve == QLOG_FLIGHT && trace->curves[QLOG_LOST].count) {
        snprintf(name, sizeof name, "packets lost (%zu)", trace->curves[QLOG_LOST].count);
        fprintf(out, "<text class=\"end\" x=\"%.0f\" y=\"%.0f\">%s</text>", x, y, name);
        x -= width_of(name) + 14;
        fprintf(out, "<path class=\"lost\" d=\"M%.1f %.1fl8 8m0 -8l-8 8\"/>\n", x, y - 8.5);
        x -= 18;
    }
    for (unsigned k = panel->count; k-- > 0;) {
        const struct kind *kind = &panel->kinds[k];
        if (!trace->curves[kind->curve].count)
            continue;
        fprintf(out, "<text class=\"end\" x=\"%.0f\" y=\"%.0f\">%s</text>", x, y, kind->name);
        x -= width_of(kind->name) + 8;
        if (kind->area)
            fprintf(out, "<rect class=\"%sfill\" x=\"%.1f\" y=\"%.1f\" width=\"24\" height=\"9\"/>", kind->class,
                    x - 24, y - 8.5);
        fprintf(out, "<path class=\"curve %s\" d=\"M%.1f %.1fh24\"/>\n", kind->class, x - 24,
                kind->area ? y - 8.5 : y - 4.5);
        x -= 24 + 22;
    }
}

static void draw_panel(FILE *out, const struct qlog_trace *trace, const struct panel *panel, const struct axis *times,
                       double top, bool bottom) {
    double most = most_of(trace, panel);
    struct axis axis = value_axis(most, panel->bytes);
    draw_grid(out, times, &axis, panel->bytes, top, bottom);
    fprintf(out, "<text class=\"head\" x=\"%.0f\" y=\"%.0f\">%s</text>\n", LEFT, top - 12, panel->title);
    for (unsigned k = 0; k < panel->count; k++)
        draw_curve(out, &trace->curves[panel->kinds[k].curve], &panel->kinds[k], times, &axis, top);
    if (panel->kinds[0].curve == QLOG_FLIGHT)
        draw_losses(out, &trace->curves[QLOG_LOST], times, top);
    if (most == 0)
        fprintf(out, "<text class=\"middle faint\" x=\"%.0f\" y=\"%.0f\">nothing in this log</text>\n",
                LEFT + COLUMNS / 2.0, top + PANEL / 2);
    fprintf(out, "<rect class=\"frame\" x=\"%.1f\" y=\"%.1f\" width=\"%d\" height=\"%.0f\"/>\n", LEFT - 0.5, top + 0.5,
            COLUMNS + 1, PANEL);
    draw_legend(out, trace, panel, top);
}

static void draw_head(FILE *out, const struct qlog_trace *trace) {
    char seconds[CLI_UNIT_TEXT], sent[CLI_UNIT_TEXT], received[CLI_UNIT_TEXT];
    const struct qlog_curve *s = &trace->curves[QLOG_SENT], *r = &trace->curves[QLOG_RECEIVED];
    cli_format_time((trace->end - trace->start) / 1000, seconds);
    cli_format_size(s->count ? s->value[s->count - 1] : 0, sent);
    cli_format_size(r->count ? r->value[r->count - 1] : 0, received);
    fprintf(out, "<text class=\"title\" x=\"%.0f\" y=\"32\">", LEFT);
    escaped(out, *trace->title ? trace->title : "QUIC connection");
    fputs("</text>\n", out);
    fprintf(out, "<text class=\"faint\" x=\"%.0f\" y=\"52\">connection ", LEFT);
    escaped(out, *trace->group ? trace->group : "?");
    fputs(", seen by the ", out);
    escaped(out, *trace->role ? trace->role : "?");
    fprintf(out, ": %s, %s sent, %s received, %zu of %llu packets lost</text>\n", seconds, sent, received,
            trace->curves[QLOG_LOST].count, (unsigned long long)trace->packets_sent);
}

void qlog_svg(const struct qlog_trace *trace, enum qlog_theme theme, FILE *out) {
    double height = TOP + PANELS * PANEL + (PANELS - 1) * GAP + 76;
    struct axis times = {trace->start, trace->end > trace->start ? trace->end : trace->start + 1, 0};
    times.step = nice_step(times.to - times.from, 1, 9);
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" "
            "role=\"img\">\n<title>",
            WIDTH, height, WIDTH, height);
    escaped(out, *trace->group ? trace->group : "QUIC connection");
    fputs("</title>\n", out);
    write_style(out, theme);
    fprintf(out, "<rect class=\"paper\" width=\"%.0f\" height=\"%.0f\"/>\n", WIDTH, height);
    draw_head(out, trace);
    for (size_t i = 0; i < PANELS; i++)
        draw_panel(out, trace, &panels[i], &times, TOP + 16 + (double)i * (PANEL + GAP), i + 1 == PANELS);
    fprintf(out, "<text class=\"middle faint\" x=\"%.0f\" y=\"%.0f\">time since the log began</text>\n",
            LEFT + COLUMNS / 2.0, height - 14);
    fputs("</svg>\n", out);
}
