/* The native bundle's reader and runner under the sanitizers: `bundle_fuzz FILE SEED SECONDS`.

   Files like FILE, with bytes of their sections changed and the checksum made right again, must be refused in words, or
   run without touching anything but their own; so must states that nobody saved. tests/kits/bundle_kit.py compiles it. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "triune.h"

enum { FIRST = 16, SECTIONS = 9, HEAD = 64, ALIGN = 64, STEPS = 3, LARGE = 1 << 20 };

static uint64_t seed;

static uint32_t chance(uint32_t below) { /* splitmix64 */
    uint64_t z = seed += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return below ? (uint32_t)((z ^ z >> 31) % below) : 0;
}

static void fill(unsigned char *to, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) to[i] = (unsigned char)chance(256);
}

static uint32_t word(const unsigned char *at) { return at[0] | at[1] << 8 | at[2] << 16 | (uint32_t)at[3] << 24; }

static void set(unsigned char *at, uint32_t value) {
    for (int i = 0; i < 4; i++) at[i] = (unsigned char)(value >> 8 * i);
}

static void seal(unsigned char *data, size_t bytes) {
    uint32_t left = 0xffffffffu;
    for (size_t i = FIRST; i < bytes; i++) {
        left ^= data[i];
        for (int bit = 0; bit < 8; bit++) left = left >> 1 ^ (0xedb88320u & (0u - (left & 1)));
    }
    set(data + 12, ~left);
}

/* A word, somewhere in a section that is chosen first, so that the small ones have their turn; or in the head. */
static void tamper(unsigned char *data, size_t bytes) {
    static const uint32_t odd[] = {0, 1, 2, 3, 4, 8, 16, 64, 255, 4096, 1 << 20, 1 << 30, 0x7fffffff, 0x80000000, 0xffffffff,
                                   0x7fc00000 /* NaN */, 0x7f800000 /* infinite */, 0xff800000};
    const uint32_t chosen = chance(SECTIONS + 1);
    size_t at = HEAD, size = word(data + FIRST + 4 * (chosen % SECTIONS));
    for (uint32_t i = 0; i < chosen && chosen < SECTIONS; i++) at += (word(data + FIRST + 4 * i) + ALIGN - 1) / ALIGN * ALIGN;
    if (chosen == SECTIONS) at = FIRST, size = HEAD - FIRST;
    if (size < 4 || at > bytes - 4 || size > bytes - at) return;
    at += chance((uint32_t)size / 4) * 4;
    const uint32_t was = word(data + at), kind = chance(4);
    if (kind == 0) set(data + at, odd[chance(sizeof odd / sizeof *odd)]);
    if (kind == 1) set(data + at, was + chance(17) - 8);
    if (kind == 2) data[at + chance(4)] = (unsigned char)chance(256);
    if (kind == 3) set(data + at, was ^ 1u << chance(32));
}

/* A few steps of whatever could be opened. */
static void live(triune *t) {
    int height, width;
    size_t said = strlen(triune_manifest(t));
    for (int list = -1; list <= TRIUNE_SCENE + 1; list++)
        for (int i = -1; i <= triune_count(t, list); i++) said += strlen(triune_name(t, list, i));
    triune_sides(t, &height, &width);
    const size_t bytes = (size_t)height * width * 3, room = triune_state(t);
    unsigned char *frame = calloc(bytes, 1), *state = malloc(room + 1);
    triune_decision d;
    for (int i = 0; frame && state && i < STEPS; i++) {
        if (bytes < LARGE && i) fill(frame, bytes);
        triune_step(t, frame, &d);
        const int actions = triune_count(t, TRIUNE_ACTIONS), rules = triune_count(t, TRIUNE_RULES);
        if (!d.controls && (d.action < 0 || d.action >= actions || d.proposed < 0 || d.proposed >= actions)) abort();
        for (int k = 0; d.controls && k < actions; k++) said += d.controls[k] > d.wanted[k];
        if (d.reason < -1 || d.reason >= triune_count(t, TRIUNE_REASONS)) abort();
        for (int k = 0; k < rules; k++) said += d.overruled[k] + d.faults[k + 1];
        for (int k = 0; k < triune_count(t, TRIUNE_SCENE); k++) said += d.scene[k] > 0;
        triune_save(t, state);
        if (i == 1) fill(state, room < 4096 ? room : 4096);
        triune_load(t, state);
    }
    triune_reset(t);
    free(frame);
    free(state);
    if (said == (size_t)-1) abort(); /* all of it was read */
}

int main(int count, char **words) {
    if (count != 4) return fprintf(stderr, "bundle_fuzz FILE SEED SECONDS\n"), 2;
    FILE *file = fopen(words[1], "rb");
    if (!file || fseek(file, 0, SEEK_END)) return perror(words[1]), 2;
    const size_t size = (size_t)ftell(file);
    unsigned char *whole = malloc(size);
    rewind(file);
    if (!whole || fread(whole, 1, size, file) != size) return perror(words[1]), 2;
    fclose(file);
    seed = strtoull(words[2], NULL, 10);
    const time_t end = time(NULL) + atoi(words[3]);
    long refused = 0, ran = 0;
    do {
        const size_t bytes = chance(64) ? size : chance((uint32_t)size);
        unsigned char *data = malloc(bytes + 1); /* exactly as long as it is, so that a read beyond it is noticed */
        char error[TRIUNE_ERROR] = "";
        memcpy(data, whole, bytes);
        for (uint32_t i = refused + ran ? 1 + chance(4) : 0; i; i--) /* the first one is whole */
            if (bytes > HEAD) tamper(data, bytes);
        if (bytes > FIRST) seal(data, bytes);
        triune *t = triune_read(data, bytes, error);
        free(data);
        if (!t && (!*error || !memchr(error, 0, sizeof error))) abort();
        if (!t && !(refused + ran)) return fprintf(stderr, "%s\n", error), 2;
        if (t) live(t);
        t ? ran++ : refused++;
        triune_close(t);
    } while (time(NULL) < end);
    printf("%ld refused, %ld ran\n", refused, ran);
    free(whole);
    return 0;
}
