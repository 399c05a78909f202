/* histogram.c - percentiles of any number of values in fixed memory.
 *
 * Values fall into steps of equal ratio: CLI_HISTOGRAM_FINE for each power of two (the smallest values have a step
 * each). The first and last are kept as they are, so least and greatest are exact.
 */
#include <math.h>

#include "cli.h"

static uint32_t step_of(uint64_t value) {
    if (value < CLI_HISTOGRAM_FINE)
        return (uint32_t)value;
    uint32_t exponent = 63u - (uint32_t)__builtin_clzll(value); /* at least 6 */
    uint32_t fine = (uint32_t)(value >> (exponent - 6)) - CLI_HISTOGRAM_FINE;
    return (exponent - 5) * CLI_HISTOGRAM_FINE + fine;
}

/* The middle of a step. */
static uint64_t value_of(uint32_t step) {
    if (step < 2 * CLI_HISTOGRAM_FINE)
        return step;
    uint32_t shift = step / CLI_HISTOGRAM_FINE - 1;
    uint64_t from = (uint64_t)(step % CLI_HISTOGRAM_FINE + CLI_HISTOGRAM_FINE) << shift;
    return from + (UINT64_C(1) << shift) / 2;
}

void cli_histogram_add(struct cli_histogram *histogram, uint64_t value) {
    if (!histogram->count || value < histogram->least)
        histogram->least = value;
    if (value > histogram->greatest)
        histogram->greatest = value;
    histogram->count++;
    histogram->sum += (double)value;
    histogram->squares += (double)value * (double)value;
    histogram->steps[step_of(value)]++;
}

uint64_t cli_histogram_at(const struct cli_histogram *histogram, double share) {
    uint64_t wanted = (uint64_t)ceil(share * (double)histogram->count), seen = 0;
    if (!histogram->count || wanted <= 1)
        return histogram->least;
    for (uint32_t step = 0; step < 64 * CLI_HISTOGRAM_FINE; step++) {
        seen += histogram->steps[step];
        if (seen >= wanted) {
            uint64_t value = value_of(step);
            return value < histogram->least      ? histogram->least
                   : value > histogram->greatest ? histogram->greatest
                                                 : value;
        }
    }
    return histogram->greatest;
}

double cli_histogram_mean(const struct cli_histogram *histogram) {
    return histogram->count ? histogram->sum / (double)histogram->count : 0;
}

double cli_histogram_deviation(const struct cli_histogram *histogram) {
    double mean = cli_histogram_mean(histogram);
    double variance = histogram->count ? histogram->squares / (double)histogram->count - mean * mean : 0;
    return variance > 0 ? sqrt(variance) : 0;
}
