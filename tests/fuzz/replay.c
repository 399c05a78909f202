/* replay.c - runs a fuzz target without libFuzzer: over its corpus, and over what is near the corpus.
 *
 * Each file is given to the target whole, cut short at every length (up to a bound), and with bytes changed by a
 * generator that starts from the same number each time: a run is the same everywhere. A finding is a crash or a
 * sanitizer's report; then the closing line is missing, and scripts/test.sh counts that as a failure. So is an empty
 * corpus.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONGEST (1u << 20)
#define CUTS 256u
#define CHANGES 256u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t dice = 0x77656674; /* splitmix64 */

static uint64_t roll(void) {
    uint64_t z = dice += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* The target gets a block of exactly this size, so that a sanitizer sees the first byte read past it. */
static void give(const uint8_t *data, size_t size) {
    uint8_t *copy = (uint8_t *)malloc(size ? size : 1);
    if (!copy)
        abort();
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void give_neighbours(uint8_t *data, size_t size) {
    for (size_t cut = 0; cut < size && cut < CUTS; cut++)
        give(data, cut);
    for (unsigned change = 0; size && change < CHANGES; change++) {
        size_t at = (size_t)(roll() % size);
        uint8_t was = data[at];
        data[at] = (uint8_t)roll();
        give(data, size);
        if (change % 8 != 0) /* every eighth change stays: the input drifts away from its seed */
            data[at] = was;
    }
}

static int replay(const char *directory, const char *name, uint8_t *space) {
    char path[4096];
    int len = snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = len > 0 && (size_t)len < sizeof path ? fopen(path, "rb") : NULL;
    if (!file) {
        perror(name);
        return 0;
    }
    size_t size = fread(space, 1, LONGEST, file);
    int ok = !ferror(file);
    fclose(file);
    if (!ok) {
        perror(path);
        return 0;
    }
    give(space, size);
    give_neighbours(space, size);
    return 1;
}

int main(int argc, char **argv) {
    const char *directory = argc > 1 ? argv[1] : FUZZ_CORPUS;
    struct dirent **names = NULL;
    int count = scandir(directory, &names, NULL, alphasort);
    uint8_t *space = (uint8_t *)malloc(LONGEST);
    int passed = 0, failed = 0;
    for (int i = 0; space && i < count; i++) {
        if (names[i]->d_name[0] != '.') {
            if (replay(directory, names[i]->d_name, space))
                passed++;
            else
                failed++;
        }
        free(names[i]);
    }
    free(names);
    free(space);
    if (passed + failed == 0) {
        fprintf(stderr, "no corpus in %s\n", directory);
        failed = 1;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
