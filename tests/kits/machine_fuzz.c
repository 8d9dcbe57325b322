/* Programs of the machine with words changed: refused, or run without touching anything but their own.

   machine_fuzz SECONDS SEED PROGRAM...   prints what it tried. Built by machine_fuzz.py with the sanitizers, which end
   it at a memory error or undefined behaviour; a change to what belongs to another program ends it here. */

#include "../../native/machine.c"

#include <stdio.h>
#include <time.h>

enum { RUNS = 6, MOST_PROGRAMS_READ = 1 << 16, PLACES = 4 };

static uint64_t state;

static uint32_t some(uint32_t below) { /* xorshift64* */
    state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
    return (uint32_t)((state * 0x2545f4914f6cdd1dull >> 32) % below);
}

typedef struct {
    int32_t *words;
    uint32_t count, code; /* where its instructions begin */
} Text;

static Text read_text(const char *path) {
    FILE *file = fopen(path, "rb");
    Text t = {0};
    if (!file || fseek(file, 0, SEEK_END)) exit(2);
    const long bytes = ftell(file);
    rewind(file);
    t.words = malloc((size_t)bytes);
    t.count = (uint32_t)(bytes / 4);
    if (fread(t.words, 1, (size_t)bytes, file) != (size_t)bytes) exit(2);
    fclose(file);
    const int32_t *w = t.words, *heads = w + HEAD + w[6] + (w[5] ? w[5] : 2);
    t.code = t.count - (uint32_t)heads[5] * WORDS; /* of its last program: the fewest that are sure to be code */
    if (w[7] > 1) t.code = t.count - (uint32_t)heads[(w[7] - 1) * PROGRAM + 5] * WORDS;
    return t;
}

static const int32_t ODD[] = {0, 1, -1, 2, 3, 4, 7, 8, 16, 64, 255, 1 << 16, 1 << 24, 1 << 30, -(1 << 30), INT32_MIN, INT32_MAX};
static const int32_t STEPS[] = {-16, -8, -4, -1, 1, 4, 8, 16};

/* A few words become others: odd ones, near ones, words of this program or of another, other instructions, single bits. */
static void tamper(int32_t *words, const Text *text, const Text *other) {
    static const uint32_t times[] = {1, 1, 1, 2, 3, 8};
    const uint32_t code = text->count - text->code;
    for (uint32_t left = times[some(6)]; left; left--) {
        const uint32_t at = some(10) ? text->code + some(code) : some(text->count), kind = some(100);
        if (kind < 30) words[at] = ODD[some(sizeof ODD / sizeof *ODD)];
        else if (kind < 60) words[at] = (int32_t)((uint32_t)words[at] + (uint32_t)STEPS[some(8)]);
        else if (kind < 75) words[at] = words[text->code + some(code)];
        else if (kind < 80) words[at] = other->words[some(other->count)];
        else if (kind < 95) words[text->code + some(code / WORDS) * WORDS] = (int32_t)some(COUNT + 2);
        else words[at] ^= (int32_t)(1u << some(32));
    }
}

/* Numbers as scenes and memories have them, and now and then any bits. */
static void fill(char *at, size_t bytes) {
    const int wild = !some(4);
    for (size_t i = 0; i + 4 <= bytes; i += 4) {
        uint32_t bits = some(UINT32_MAX);
        float value = (float)((int32_t)bits % 400) * 0.5f;
        if (!wild && some(3)) value = some(2) ? 0.0f : value;
        if (wild) memcpy(at + i, &bits, 4);
        else memcpy(at + i, &value, 4);
    }
}

/* Has a run of program j left alone what is not its frame or memory (or the scene, where it may publish)? */
static int left_alone(const Machine *m, const Program *p, const char *before) {
    typedef struct { int64_t from, to; } Place;
    Place own[PLACES] = {
        {p->base[FRAME], p->base[FRAME] + p->size[FRAME]}, {p->base[MEMORY], p->base[MEMORY] + p->size[MEMORY]},
        {0, m->publishes ? p->size[SCENE] : 0}, {m->bytes, m->bytes + ALIGN},
    };
    int64_t at = 0;
    while (at < m->bytes) { /* up to the next place that is its own, then behind that */
        Place next = own[PLACES - 1];
        for (int i = 0; i < PLACES; i++)
            if (own[i].to > at && own[i].from < next.from && own[i].from < own[i].to) next = own[i];
        if (next.from > at && memcmp(before + at, m->arena + at, (size_t)(next.from - at))) return 0;
        at = next.to;
    }
    return 1;
}

int main(int count, char **given) {
    if (count < 4) return 2;
    const time_t end = time(NULL) + atol(given[1]);
    state = (uint64_t)atoll(given[2]) * 2 + 1;
    const int texts = count - 3 > MOST_PROGRAMS_READ ? MOST_PROGRAMS_READ : count - 3;
    Text *text = calloc((size_t)texts, sizeof(Text));
    for (int i = 0; i < texts; i++) text[i] = read_text(given[3 + i]);
    uint64_t tampered = 0, refused = 0, runs = 0, faults = 0;
    while (time(NULL) < end) {
        const Text *one = &text[some((uint32_t)texts)];
        const size_t bytes = (size_t)(some(100) ? one->count : some(one->count)) * 4 + (some(1000) ? 0 : some(4));
        const size_t whole = (size_t)one->count * 4;
        int32_t *words = malloc(whole + 4);
        memcpy(words, one->words, whole);
        tamper(words, one, &text[some((uint32_t)texts)]);
        char *exact = malloc(bytes ? bytes : 1), error[256]; /* so that reading beyond its end is seen */
        memcpy(exact, words, bytes < whole ? bytes : whole);
        if (bytes > whole) memset(exact + whole, 0, bytes - whole);
        if (some(100) && bytes >= 12) { /* its length, else nothing that was cut off goes any further */
            const int32_t length = (int32_t)(bytes / 4);
            memcpy(exact + 8, &length, 4);
        }
        free(words);
        tampered++;
        Machine *m = machine_open(exact, bytes, error, sizeof error);
        free(exact);
        if (!m) {
            refused++;
            continue;
        }
        char *before = malloc((size_t)m->bytes + ALIGN);
        for (int round = 0; round < RUNS && m->bytes < 1 << 22; round++) {
            fill(m->arena, 4 * (size_t)m->scene);
            const int32_t last = m->memories - 1;
            if (!some(3)) fill(m->arena + m->memory[0], (size_t)(m->memory[last] + m->memory_size[last] - m->memory[0]));
            for (int32_t j = 0; j < m->programs; j++) {
                Program *p = &m->program[j];
                memcpy(before, m->arena, (size_t)m->bytes);
                faults += (uint64_t)!run(m, p);
                runs++;
                if (!left_alone(m, p, before)) {
                    fprintf(stderr, "program %d of %s, changed, wrote outside its own\n", (int)j, given[3 + (one - text)]);
                    abort();
                }
            }
            memcpy(before, m->arena, (size_t)m->bytes);
            machine_decide(m);
            for (int32_t j = 0; j < m->memories; j++) {
                size_t kept;
                const char *told = machine_before(m, j, &kept);
                if (memcmp(told, before + m->memory[j], kept)) {
                    fprintf(stderr, "memory %d of %s, changed, is not what it was before the step\n", (int)j, given[3 + (one - text)]);
                    abort();
                }
            }
        }
        free(before);
        machine_close(m);
    }
    printf("%llu tampered programs, %llu of them refused, %llu runs of the others, %llu of them faults\n",
           (unsigned long long)tampered, (unsigned long long)refused, (unsigned long long)runs, (unsigned long long)faults);
    for (int i = 0; i < texts; i++) free(text[i].words);
    free(text);
    return 0;
}
