/* replay.c — runs a fuzz target without libFuzzer: every file of a folder as it is, then mutated a few
 * thousand times by a fixed generator. So each build, also one by gcc with sanitizers, tries the corpus. TAP.
 *
 * Arguments: FOLDER [MUTATIONS]. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* xorshift64*: the same inputs in every run (Vigna 2014) */
static uint64_t next(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

static size_t mutate(uint8_t *p, size_t n, uint64_t *state)
{
    static const char *const words[] = {"[",  "]",    "=",        "${",    "}",
                                        "\n", "$",    "[plugin ", "file:", "\"",
                                        "\\", "\xff", ";",        "-1",    "999999999999999999999",
                                        ":",  "{",    ",",        "\0",    " "};
    for (uint64_t k = next(state) % 6; k-- > 0 && n > 0;) {
        size_t at = next(state) % n;
        const char *word = words[next(state) % (sizeof(words) / sizeof(words[0]))];
        size_t length = *word ? strlen(word) : 1, cut = next(state) % 16;
        switch (next(state) % 4) {
        case 0:
            p[at] = (uint8_t)next(state);
            break;
        case 1: /* insert */
            if (n + length < INPUT_MAX) {
                memmove(p + at + length, p + at, n - at);
                memcpy(p + at, word, length);
                n += length;
            }
            break;
        case 2: /* remove */
            cut = cut > n - at ? n - at : cut;
            memmove(p + at, p + at + cut, n - at - cut);
            n -= cut;
            break;
        default: /* repeat a piece */
            cut = cut > n - at ? n - at : cut;
            if (n + cut < INPUT_MAX) {
                memmove(p + at + cut, p + at, n - at);
                n += cut;
            }
        }
    }
    return n;
}

static void try(const uint8_t *p, size_t n)
{
    uint8_t *exact =
        malloc(n ? n : 1); /* of the right size, so that a sanitizer sees every byte read beyond */
    memcpy(exact, p, n);
    LLVMFuzzerTestOneInput(exact, n);
    free(exact);
}

static int replay(const char *folder, const char *name, long mutations)
{
    static uint8_t seed[INPUT_MAX], input[INPUT_MAX];
    char path[4096];
    uint64_t state = 88172645463325252u;
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "re");
    if (!f)
        return 1;
    size_t n = fread(seed, 1, sizeof(seed), f);
    fclose(f);
    try(seed, n);
    for (long i = 0; i < mutations; i++) {
        memcpy(input, seed, n);
        try(input, mutate(input, n, &state));
    }
    return 0;
}

int main(int argc, char **argv)
{
    DIR *d = argc > 1 ? opendir(argv[1]) : NULL;
    long mutations = argc > 2 ? atol(argv[2]) : 2000;
    int n = 0, failed = 0;
    if (!d) {
        fprintf(stderr, "usage: %s FOLDER [MUTATIONS]\n", argv[0]);
        return 2;
    }
    for (const struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        int bad = replay(argv[1], e->d_name, mutations);
        printf("%sok %d - %s\n", bad ? "not " : "", ++n, e->d_name);
        failed += bad;
    }
    closedir(d);
    printf("1..%d\n", n);
    return failed || n == 0;
}
