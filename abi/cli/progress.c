/* progress.c - one line on stderr that is written over, on a terminal only.
 *
 * HTTP/0.9 tells no sizes, so the bar counts files, and a single file has a rate but no bar.
 */
#include <unistd.h>

#include "cli.h"

#define BAR 24

void cli_progress_begin(struct cli_progress *progress, bool quiet) {
    *progress = (struct cli_progress){.on = !quiet && isatty(STDERR_FILENO)};
    progress->began = progress->last_at = cli_now();
}

void cli_progress_show(struct cli_progress *progress, uint64_t done, uint64_t total, const char *what, uint64_t bytes) {
    if (!progress->on)
        return;
    uint64_t now = cli_now();
    if (now <= progress->last_at)
        return;
    double rate = (double)(bytes - progress->last_bytes) * 8e9 / (double)(now - progress->last_at);
    progress->rate = progress->rate > 0 ? 0.7 * progress->rate + 0.3 * rate : rate;
    progress->last_at = now;
    progress->last_bytes = bytes;

    char size[CLI_UNIT_TEXT], bar[BAR + 1];
    double seconds = (double)(now - progress->began) / 1e9;
    fputc('\r', stderr);
    if (total > 1) {
        unsigned filled = (unsigned)(done * BAR / total);
        for (unsigned i = 0; i < BAR; i++)
            bar[i] = i < filled ? '#' : '.';
        bar[BAR] = 0;
        fprintf(stderr, "[%s] %llu/%llu %s  ", bar, (unsigned long long)done, (unsigned long long)total, what);
    }
    fprintf(stderr, "%s  %.3f Gbit/s  %.1f s\x1b[K", cli_format_size((double)bytes, size), progress->rate / 1e9,
            seconds);
    fflush(stderr);
}

void cli_progress_clear(struct cli_progress *progress) {
    if (progress->on)
        fputs("\r\x1b[K", stderr);
}
