/* A bundle without Python (triune.h): a file of sections, read and checked once, then one step a frame.

   The file, little-endian: eight bytes MAGIC; version; CRC-32 of all bytes behind it; the bytes of each section; zeros
   up to HEAD. Then the sections, each beginning at a multiple of ALIGN. triune/native_bundle.py writes it. */

#include "triune.h"

#include "core.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 1, HEAD = 64, ALIGN = 64, CHECKED = 16, MOST_BYTES = 64 << 20, LISTS = 4, MOST_NAMES = 1 << 20 };
enum { MANIFEST, PARTS, NAMES, NUMBERS, WEIGHTS, TRACKER, DECIDER, START, BOUNDS, SECTIONS };
static const char MAGIC[8] = {'\x89', 'T', 'r', 'i', 'u', 'n', 'e', '\n'};

struct triune {
    char *data;
    const char *section[SECTIONS];
    size_t bytes[SECTIONS];
    Eyes *eyes;
    Machine *tracker, *decider;
    MachineForm form;
    int count[LISTS];
    const char **name[LISTS];
    float *scene, *now; /* the tracked scene; controls after all rules */
    uint8_t *overruled, *faults;
};

/* --- opening ----------------------------------------------------------------------------------------------------- */

static uint32_t checksum(const unsigned char *data, size_t bytes) {
    uint32_t left = 0xffffffffu;
    for (size_t i = 0; i < bytes; i++) {
        left ^= data[i];
        for (int bit = 0; bit < 8; bit++) left = left >> 1 ^ (0xedb88320u & (0u - (left & 1)));
    }
    return ~left;
}

static uint32_t word(const char *data) {
    const unsigned char *b = (const unsigned char *)data;
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/* Where the sections lie; what is wrong, or NULL. */
static const char *find(triune *t, size_t bytes) {
    const uint32_t one = 1;
    if (*(const unsigned char *)&one != 1) return "this machine is not little-endian";
    if (bytes < HEAD || memcmp(t->data, MAGIC, sizeof MAGIC)) return "it is no native bundle: triune export TASK FILE.triune makes one";
    if (word(t->data + 8) != VERSION) return "it has another version; export it again";
    if (word(t->data + 12) != checksum((unsigned char *)t->data + CHECKED, bytes - CHECKED)) return "it is damaged";
    size_t at = HEAD;
    for (int i = 0; i < SECTIONS; i++) {
        t->section[i] = t->data + at;
        t->bytes[i] = word(t->data + CHECKED + 4 * i);
        const size_t taken = (t->bytes[i] + ALIGN - 1) / ALIGN * ALIGN;
        if (taken > bytes - at) return "it ends too early";
        at += taken;
    }
    if (at != bytes) return "it goes on after its end";
    if (!t->bytes[MANIFEST] || t->section[MANIFEST][t->bytes[MANIFEST] - 1]) return "its manifest has no end";
    return NULL;
}

/* Counts of all lists, then their names, each with a zero behind it. */
static const char *names(triune *t) {
    const char *at = t->section[NAMES], *end = at + t->bytes[NAMES];
    if (t->bytes[NAMES] < 4 * LISTS) return "its names end too early";
    for (int k = 0; k < LISTS; k++, at += 4) {
        const uint32_t count = word(at);
        if (count > MOST_NAMES) return "it has too many names";
        t->count[k] = (int)count;
    }
    for (int k = 0; k < LISTS; k++) {
        t->name[k] = calloc((size_t)t->count[k] + 1, sizeof(char *));
        if (!t->name[k]) return "there is too little memory";
        for (int i = 0; i < t->count[k]; i++) {
            const char *stop = at < end ? memchr(at, 0, (size_t)(end - at)) : NULL;
            if (!stop) return "its names end too early";
            t->name[k][i] = at;
            at = stop + 1;
        }
    }
    return at == end ? NULL : "there is more than its names";
}

static size_t memories(const Machine *m) {
    const MachineForm form = machine_form(m);
    size_t sum = 0, bytes;
    for (int i = 0; i < form.memories; i++) machine_memory(m, i, &bytes), sum += bytes;
    return sum;
}

/* Do the parts belong together? */
static const char *fits(const triune *t) {
    const MachineForm track = machine_form(t->tracker), form = t->form;
    const int values = eyes_values(t->eyes), rules = form.programs - 1 + (form.controls > 0);
    if (track.programs != 1 || !track.publishes || form.publishes || form.rules != form.programs - 1) return "its programs are none of a bundle";
    if (track.scene != values || form.scene != values || t->count[TRIUNE_SCENE] != values) return "its parts speak of different scenes";
    if (t->count[TRIUNE_ACTIONS] != (form.controls ? form.controls : form.actions)) return "its actions have other names";
    if (t->count[TRIUNE_REASONS] != form.reasons || t->count[TRIUNE_RULES] != rules) return "its reasons or rules have other names";
    if (t->bytes[START] != memories(t->tracker) + memories(t->decider)) return "its memory begins otherwise";
    if (t->bytes[BOUNDS] != 8 * (size_t)form.controls) return "its controls have no bounds";
    const float *low = (const float *)t->section[BOUNDS], *high = low + form.controls;
    for (int i = 0; i < form.controls; i++)
        if (!(low[i] <= form.settings[i] && form.settings[i] <= high[i])) return "its controls have impossible bounds";
    return NULL;
}

static const char *build(triune *t, size_t bytes, char *error) {
    const char *wrong = find(t, bytes);
    if (!wrong) wrong = names(t);
    if (wrong) return wrong;
    if (t->bytes[NUMBERS] % 4 || t->bytes[WEIGHTS] % 4) return "its network has half a number";
    t->eyes = eyes_open((const int32_t *)t->section[NUMBERS], t->bytes[NUMBERS] / 4, (const float *)t->section[WEIGHTS], t->bytes[WEIGHTS] / 4, &wrong);
    if (!t->eyes) return wrong;
    t->tracker = machine_open(t->section[TRACKER], t->bytes[TRACKER], error, TRIUNE_ERROR);
    t->decider = t->tracker ? machine_open(t->section[DECIDER], t->bytes[DECIDER], error, TRIUNE_ERROR) : NULL;
    if (!t->decider) return error;
    t->form = machine_form(t->decider);
    wrong = fits(t);
    if (wrong) return wrong;
    const size_t rules = (size_t)t->count[TRIUNE_RULES];
    t->scene = calloc((size_t)t->form.scene + 1, sizeof(float));
    t->now = calloc((size_t)t->form.controls + 1, sizeof(float));
    t->overruled = calloc(rules + 1, 1);
    t->faults = calloc(rules + 1, 1);
    if (!t->scene || !t->now || !t->overruled || !t->faults) return "there is too little memory";
    triune_reset(t);
    return NULL;
}

triune *triune_read(const void *data, size_t bytes, char error[TRIUNE_ERROR]) {
    const char *wrong = "there is too little memory";
    triune *t = bytes <= MOST_BYTES ? calloc(1, sizeof *t) : NULL;
    if (bytes > MOST_BYTES) wrong = "it is larger than any bundle";
    if (t) t->data = malloc(bytes + ALIGN);
    if (t && t->data) {
        memcpy(t->data, data, bytes);
        wrong = build(t, bytes, error);
    }
    if (!wrong) return t;
    if (wrong != error) snprintf(error, TRIUNE_ERROR, "%s", wrong);
    triune_close(t);
    return NULL;
}

triune *triune_open(const char *path, char error[TRIUNE_ERROR]) {
    triune *t = NULL;
    FILE *file = fopen(path, "rb");
    char *data = file ? malloc(MOST_BYTES + 1) : NULL;
    if (data) t = triune_read(data, fread(data, 1, MOST_BYTES + 1, file), error);
    else snprintf(error, TRIUNE_ERROR, file ? "there is too little memory" : "it cannot be opened");
    if (file) fclose(file);
    free(data);
    return t;
}

void triune_close(triune *t) {
    if (!t) return;
    eyes_close(t->eyes);
    machine_close(t->tracker);
    machine_close(t->decider);
    for (int k = 0; k < LISTS; k++) free(t->name[k]);
    free(t->scene);
    free(t->now);
    free(t->overruled);
    free(t->faults);
    free(t->data);
    free(t);
}

/* --- what is remembered ------------------------------------------------------------------------------------------- */

static const char *put(Machine *m, const char *from) {
    const MachineForm form = machine_form(m);
    for (int i = 0; i < form.memories; i++) {
        size_t bytes;
        char *memory = machine_memory(m, i, &bytes);
        memcpy(memory, from, bytes);
        from += bytes;
    }
    return from;
}

static char *take(const Machine *m, char *to) {
    const MachineForm form = machine_form(m);
    for (int i = 0; i < form.memories; i++) {
        size_t bytes;
        const char *memory = machine_memory(m, i, &bytes);
        memcpy(to, memory, bytes);
        to += bytes;
    }
    return to;
}

static void back(Machine *m) { /* to what it was before the step */
    const MachineForm form = machine_form(m);
    for (int i = 0; i < form.memories; i++) {
        size_t bytes;
        const char *before = machine_before(m, i, &bytes);
        memcpy(machine_memory(m, i, &bytes), before, bytes);
    }
}

void triune_reset(triune *t) {
    put(t->decider, put(t->tracker, t->section[START]));
    eyes_restart(t->eyes);
}

size_t triune_state(const triune *t) { return t->bytes[START] + eyes_kept(t->eyes); }

void triune_save(const triune *t, void *state) { eyes_save(t->eyes, take(t->decider, take(t->tracker, state))); }

void triune_load(triune *t, const void *state) { eyes_load(t->eyes, put(t->decider, put(t->tracker, state))); }

/* --- a step ------------------------------------------------------------------------------------------------------ */

static int finite(const float *values, int n) {
    int good = 1;
    for (int i = 0; i < n; i++) good &= isfinite(values[i]) != 0;
    return good;
}

static void decided(triune *t, triune_decision *d, int32_t action, int32_t proposed, int32_t reason, const float *wanted) {
    const int vector = t->form.controls > 0;
    *d = (triune_decision){.action = vector ? -1 : action, .proposed = vector ? -1 : proposed, .reason = reason,
                           .controls = vector ? t->now : NULL, .wanted = vector ? wanted : NULL,
                           .overruled = t->overruled, .faults = t->faults, .scene = t->scene};
}

/* What the network makes of a frame is no scene: the tracker is given an empty one, and nothing is decided. */
static int blind(triune *t, triune_decision *d) {
    const size_t bytes = sizeof(float) * (size_t)t->form.scene;
    memset(machine_scene(t->tracker), 0, bytes);
    if (machine_track(t->tracker) && finite(machine_scene(t->tracker), t->form.scene)) {
        memcpy(t->scene, machine_scene(t->tracker), bytes);
    } else {
        back(t->tracker);
        memset(t->scene, 0, bytes);
    }
    memcpy(t->now, t->form.settings, sizeof(float) * (size_t)t->form.controls);
    t->faults[0] = 1;
    decided(t, d, (int32_t)t->form.fallback, (int32_t)t->form.fallback, -1, t->form.settings);
    return 0;
}

int triune_step(triune *t, const uint8_t *frame, triune_decision *d) {
    const int values = t->form.scene, controls = t->form.controls, programs = t->form.programs;
    const size_t rules = (size_t)t->count[TRIUNE_RULES];
    float *sight = machine_scene(t->tracker);
    memset(t->overruled, 0, rules);
    memset(t->faults, 0, rules + 1);
    memcpy(sight, eyes_look(t->eyes, frame, WINDOW), sizeof(float) * (size_t)values);
    if (!finite(sight, values)) return blind(t, d);
    if (!machine_track(t->tracker) || !finite(sight, values)) {
        back(t->tracker);
        return blind(t, d);
    }
    memcpy(t->scene, sight, sizeof(float) * (size_t)values);
    memcpy(machine_scene(t->decider), t->scene, sizeof(float) * (size_t)values);
    machine_decide(t->decider);
    const MachineTold policy = machine_told(t->decider, 0);
    MachineTold before = policy;
    int good = 1;
    for (int j = 0; j < programs; j++) {
        const MachineTold told = machine_told(t->decider, j);
        int same = controls || told.action == before.action;
        for (int c = 0; c < controls; c++) same = same && told.vector[c] == before.vector[c];
        if (j) t->overruled[j - 1] = !same;
        t->faults[j] = told.fault != 0;
        good &= !told.fault;
        before = told;
    }
    const float *low = (const float *)t->section[BOUNDS], *high = low + controls;
    for (int c = 0; c < controls; c++) {
        const float v = before.vector[c];
        t->now[c] = v < low[c] ? low[c] : v > high[c] ? high[c] : v;
        if (t->now[c] != v) t->overruled[programs - 1] = 1;
    }
    decided(t, d, (int32_t)before.action, (int32_t)policy.action, policy.fault ? -1 : (int32_t)policy.reason, policy.vector);
    return good;
}

/* --- what it says of itself --------------------------------------------------------------------------------------- */

void triune_sides(const triune *t, int *height, int *width) { eyes_sides(t->eyes, height, width); }

int triune_count(const triune *t, int list) { return list >= 0 && list < LISTS ? t->count[list] : 0; }

const char *triune_name(const triune *t, int list, int i) {
    return list >= 0 && list < LISTS && i >= 0 && i < t->count[list] ? t->name[list][i] : "";
}

const char *triune_manifest(const triune *t) { return t->section[MANIFEST]; }
