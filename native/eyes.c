/* The detector, without a graph runtime, looking again only at what changed.

A network is given as a plan (native/eyes.py writes it): whole numbers that say its shape, and the weights. `build`
reads it once, checks every number of it, and lays out all memory; after that nothing is allocated. A look then goes
(eyes_look.h, compiled once for each instruction set):

    frame  -> blocks of pixels that differ from the last frame
    trunks -> of every layer the positions that a change can have reached, and which of them did change
    finder -> the hottest cells, a fine look at the patch around each, grids and gauges
    reader -> landmarks as sums over cells, kept for every CHUNK of cells

Values lie with channels last, filled up with zeros to a multiple of LANES. Every sum goes over its terms in one order,
one after the other and without fused multiply-add, whatever changed and whatever the instruction set: a frame has one
answer, bit by bit. */

#include "core.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum {
    FORMAT = 1,
    LANES = 8,
    CHUNK = 16,        /* cells whose sums are kept together */
    STRIDE = 64,       /* bytes that are compared at once */
    MOST_SIDE = 4096,  /* pixels of a frame, channels of a layer, values of anything that is listed */
    MOST_CELLS = 1 << 20,
    MOST_LAYERS = 64,
    MOST_PARTS = 4096, /* groups, grids, gauges, readings of a kind */
    MOST_WINDOW = 8,
    MOST_RIVALS = 1024, /* slots of which each is compared with each */
};
#define MOST_MEMORY ((size_t)1 << 30) /* bytes */

enum { PLAIN_SUM, RELU, CLIP, MODES };       /* what is done to a sum */
enum { PIXELS, DENSE, DEPTHWISE };           /* what a layer reads, and how */

/* Which targets a source can reach, by row and by column: from `first` to `last`, none where last < first. */
typedef struct {
    int *first, *last;
} Reach;

/* `width` values at each of `rows` * `cols` positions, each from `taps` runs of `run` values that lie `pitch` apart. */
typedef struct {
    int kind, mode, rows, cols, width, taps, run, source_cols, whole, changed;
    long pitch;
    const float *weight, *bias;
    const float *source;
    float *made;
    int *from, *to;         /* per position: where its first run begins; where its values go */
    Reach down, across;     /* from the source's rows and columns to the positions' */
    unsigned char *mark;    /* per position: whether it is listed */
    int *list;              /* positions to look at; after the look, the `changed` ones */
} Layer;

typedef struct {
    int inside, outside; /* both multiples of LANES */
    const float *weight, *bias;
} Linear;

typedef struct {
    int layers, cells, width;
    Layer *layer;
    unsigned char *moved; /* per cell: its features changed with this frame */
    unsigned char *chunk; /* per CHUNK cells: one of them did */
} Trunk;

/* Sums over cells of columns * features, kept for each CHUNK of cells. */
typedef struct {
    int cells, chunks, columns, width;
    long pitch;
    const float *column;   /* [columns][cells] */
    const float *feature;  /* [cells] `pitch` apart */
    float *part, *sum;     /* [chunks][columns][width], [columns][width] */
} Contraction;

typedef struct {
    int slots, high, wide, across, down, hidden, bins, out;
    float eps;
    int *slot, *start, *row, *col; /* of the patch around each cell, in the frame */
    Layer edges;
    Linear look, context, think, last;
    const float *fixed, *step, *corner; /* [slots][hidden], [slots][2][bins], [cells][2] as x, y */
    float *patch, *edge, *first, *second, *third; /* room for one patch; for all slots */
    int *cell;                                    /* per slot, what it last looked at; -1: nothing */
    float *answer;                                /* [slots][out] */
} Group;

typedef struct {
    int start, cells, width;
    Layer own;
    Linear context;
    const float *weight, *threshold;
    float *turned; /* [width][cells up to LANES] */
} Grid;

typedef struct {
    int start;
    Layer pixels;
    Linear last;
} Gauge;

typedef struct {
    Trunk trunk;
    int kinds, context, slots, groups, grids, gauges;
    int *count, *cell; /* per kind; per slot, chosen now */
    int *kind, *start; /* per slot; where it stands in the scene, -1: nowhere */
    float *sure;       /* per slot, the logit */
    unsigned char *beaten;
    const float *place;
    float low;     /* heat of what is no peak */
    float overlap; /* share of two boxes from which they are one place, which the surer kind has; 0: both stay */
    float *heat, *value, *pooled, *camera, *shared;
    Contraction pool;
    Linear mix, shake;
    Group *group;
    Grid *grid;
    Gauge *gauge;
} Finder;

typedef struct {
    int wrap, at;
    float low, high, half, middle;
} Field;

typedef struct {
    int start, logit, fields;
    Field *field;
} Reading;

typedef struct {
    Trunk trunk;
    int marks, width, glimpse, readings, code_size;
    float sharp, near;
    float *heat, *column, *peak, *highest, *level, *code, *first, *second, *raw;
    Contraction means;
    Linear straight, hidden, think, last;
    Reading *reading;
} Sight;

typedef struct Memory Memory;
struct Memory {
    Memory *next;
};

struct Eyes {
    int height, width, size, window, finds, reads, started;
    int block_high, block_wide, block_rows, block_cols, changed;
    int *row_from, *row_to;     /* bytes of each row of the frame that anything is read from */
    int *block_row, *block_col; /* of each row; of each byte of a row */
    int *edge;                  /* first byte of each block of a row, and the row's end */
    unsigned char *block;       /* whether it differs from the last frame */
    int *list;
    unsigned char *frame;       /* the last one; with a window, the maximum */
    unsigned char *past, *most;
    int kept, next;
    float *room, *scene;        /* for a layer's four positions, and what they make */
    Finder finder;
    Sight sight;
    Memory *memory;
    size_t used;
    double looked, every; /* positions looked at since the start, and how many there were */
};

/* ---------------------------------------------------------------------------------------------------- */
/* Reading a plan. The first thing that is wrong is kept in `error`; whoever reads on then gets harmless values. */

typedef struct {
    Eyes *eyes;
    const int32_t *number;
    size_t numbers, floats;
    const float *weight;
    const char *error;
} Plan;

static void wrong(Plan *plan, const char *what) {
    if (!plan->error) plan->error = what;
}

static void *grab(Plan *plan, size_t count, size_t size) {
    size_t bytes = count * size + 2 * 64 + sizeof(Memory);
    Memory *made = NULL;
    if (count > MOST_MEMORY / size || (plan->eyes->used += bytes) > MOST_MEMORY)
        wrong(plan, "it needs too much memory");
    else if (!(made = calloc(1, bytes)))
        wrong(plan, "there is not enough memory");
    if (!made) return NULL;
    made->next = plan->eyes->memory;
    plan->eyes->memory = made;
    return (void *)(((uintptr_t)(made + 1) + 63) & ~(uintptr_t)63); /* room for a vector that reads beyond the end */
}

static int number(Plan *plan, int least, int most) {
    if (!plan->numbers) {
        wrong(plan, "it ends too early");
        return least;
    }
    int found = *plan->number++;
    plan->numbers--;
    if (found < least || found > most) {
        wrong(plan, "a number of it is out of range");
        return least;
    }
    return found;
}

/* `count` weights; each run of them begins at a multiple of 16, and so at a cache line. */
static const float *weights(Plan *plan, size_t count) {
    size_t taken = (count + 15) & ~(size_t)15;
    if (count > MOST_MEMORY || taken > plan->floats) {
        wrong(plan, "it has too few weights");
        return NULL;
    }
    const float *found = plan->weight;
    plan->weight += taken;
    plan->floats -= taken;
    return found;
}

static float single(Plan *plan) {
    const float *found = weights(plan, 1);
    return found ? *found : 0;
}

static int up(int n) { return (n + LANES - 1) / LANES * LANES; }

static Linear linear(Plan *plan, int inside, int outside, int biased) {
    Linear made = {inside, up(outside), NULL, NULL};
    made.weight = weights(plan, (size_t)inside * made.outside);
    if (biased) made.bias = weights(plan, made.outside);
    return made;
}

/* Targets whose window of `kernel` sources, `stride` apart and `pad` before the first, holds a source. */
static Reach reach(Plan *plan, int sources, int targets, int kernel, int stride, int pad) {
    Reach made = {grab(plan, sources, sizeof(int)), grab(plan, sources, sizeof(int))};
    if (plan->error) return made;
    for (int i = 0; i < sources; i++) {
        int low = i + pad - kernel + 1;
        made.first[i] = low <= 0 ? 0 : (low + stride - 1) / stride;
        made.last[i] = (i + pad) / stride < targets ? (i + pad) / stride : targets - 1;
    }
    return made;
}

/* The same from blocks of pixels to windows of pixels that lie side by side from `start` on. */
static Reach pixel_reach(Plan *plan, const int *block, int step, int blocks, int start, int kernel, int targets) {
    Reach made = {grab(plan, blocks, sizeof(int)), grab(plan, blocks, sizeof(int))};
    if (plan->error) return made;
    for (int i = 0; i < blocks; i++) made.first[i] = targets, made.last[i] = -1;
    for (int target = 0; target < targets; target++)
        for (int k = 0; k < kernel; k++) {
            int i = block[(start + target * kernel + k) * step];
            if (target < made.first[i]) made.first[i] = target;
            if (target > made.last[i]) made.last[i] = target;
        }
    return made;
}

static void positions(Plan *plan, Layer *l) {
    size_t n = (size_t)l->rows * l->cols;
    l->from = grab(plan, n, sizeof(int));
    l->to = grab(plan, n, sizeof(int));
    l->mark = grab(plan, n, 1);
    l->list = grab(plan, n, sizeof(int));
}

/* Windows of pixels side by side, each to `width` values; `border` positions of zeros around all. */
static Layer pixels(Plan *plan, int top, int left, int high, int wide, int rows, int cols, int width, int mode, int border) {
    Eyes *e = plan->eyes;
    Layer l = {.kind = PIXELS, .mode = mode, .rows = rows, .cols = cols, .width = up(width), .taps = high};
    l.run = 3 * wide;
    l.pitch = 3L * e->width;
    l.source_cols = e->block_cols;
    if (top + (long)rows * high > e->height || left + (long)cols * wide > e->width) {
        wrong(plan, "it looks beyond the frame");
        return l;
    }
    l.weight = weights(plan, (size_t)high * l.run * l.width);
    l.bias = weights(plan, l.width);
    l.down = pixel_reach(plan, e->block_row, 1, e->block_rows, top, high, rows);
    l.across = pixel_reach(plan, e->block_col, 3, e->block_cols, left, wide, cols);
    positions(plan, &l);
    l.made = grab(plan, (size_t)(rows + 2 * border) * (cols + 2 * border) * l.width, sizeof(float));
    if (plan->error) return l;
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) {
            l.from[r * cols + c] = (top + r * high) * 3 * e->width + (left + c * wide) * 3;
            l.to[r * cols + c] = ((r + border) * (cols + 2 * border) + c + border) * l.width;
        }
    for (int y = top; y < top + rows * high; y++) { /* what is read is compared */
        int from = 3 * left, to = 3 * (left + cols * wide);
        if (e->row_to[y] == 0 || from < e->row_from[y]) e->row_from[y] = from;
        if (to > e->row_to[y]) e->row_to[y] = to;
    }
    return l;
}

/* A convolution of another layer's values, which has `pad` positions of zeros around it. */
static Layer convolution(Plan *plan, const Layer *source, int depthwise, int high, int wide, int stride, int pad, int width,
                         int mode, int border) {
    Layer l = {.kind = depthwise ? DEPTHWISE : DENSE, .mode = mode, .width = up(width), .taps = high};
    l.rows = (source->rows + 2 * pad - high) / stride + 1;
    l.cols = (source->cols + 2 * pad - wide) / stride + 1;
    l.run = wide * source->width;
    l.pitch = (long)(source->cols + 2 * pad) * source->width;
    l.source_cols = source->cols;
    l.source = source->made;
    if (source->rows + 2 * pad < high || source->cols + 2 * pad < wide || (depthwise && l.width != source->width)) {
        wrong(plan, "a layer does not fit the one before it");
        return l;
    }
    l.weight = weights(plan, (size_t)high * l.run * (depthwise ? 1 : l.width));
    l.bias = weights(plan, l.width);
    l.down = reach(plan, source->rows, l.rows, high, stride, pad);
    l.across = reach(plan, source->cols, l.cols, wide, stride, pad);
    positions(plan, &l);
    l.made = grab(plan, (size_t)(l.rows + 2 * border) * (l.cols + 2 * border) * l.width, sizeof(float));
    if (plan->error) return l;
    for (int r = 0; r < l.rows; r++)
        for (int c = 0; c < l.cols; c++) {
            l.from[r * l.cols + c] = (int)(r * stride * l.pitch + (long)c * stride * source->width);
            l.to[r * l.cols + c] = ((r + border) * (l.cols + 2 * border) + c + border) * l.width;
        }
    return l;
}

static Trunk trunk(Plan *plan, const int *view) {
    typedef struct {
        int depthwise, high, wide, stride, pad, width, mode;
    } Told;
    Trunk t = {.layers = number(plan, 1, MOST_LAYERS)};
    Told told[MOST_LAYERS];
    Eyes *e = plan->eyes;
    for (int i = 0; i < t.layers; i++) {
        Told *now = &told[i];
        now->depthwise = i ? number(plan, 0, 1) : 0;
        now->high = i ? number(plan, 1, 64) : e->block_high;
        now->wide = i ? number(plan, 1, 64) : e->block_wide;
        now->stride = i ? number(plan, 1, 64) : 1;
        now->pad = i ? number(plan, 0, 63) : 0;
        now->width = number(plan, 1, MOST_SIDE);
        now->mode = number(plan, 0, MODES - 1);
        if (now->pad >= now->high || now->pad >= now->wide) now->pad ? wrong(plan, "a layer pads more than it reads") : 0;
    }
    t.layer = grab(plan, t.layers, sizeof(Layer));
    for (int i = 0; i < t.layers && !plan->error; i++) {
        int border = i + 1 < t.layers ? told[i + 1].pad : 0;
        Told n = told[i];
        t.layer[i] = i == 0 ? pixels(plan, view[0], view[1], n.high, n.wide, view[2] / n.high, view[3] / n.wide, n.width, n.mode, border)
                            : convolution(plan, &t.layer[i - 1], n.depthwise, n.high, n.wide, n.stride, n.pad, n.width, n.mode, border);
    }
    if (plan->error) return t;
    Layer *last = &t.layer[t.layers - 1];
    t.cells = last->rows * last->cols;
    t.width = last->width;
    t.moved = grab(plan, t.cells, 1);
    t.chunk = grab(plan, (t.cells + CHUNK - 1) / CHUNK, 1);
    return t;
}

static Contraction contraction(Plan *plan, int cells, int columns, int width, const float *column, const float *feature, long pitch) {
    Contraction c = {cells, (cells + CHUNK - 1) / CHUNK, columns, width, pitch, column, feature, NULL, NULL};
    c.part = grab(plan, (size_t)c.chunks * columns * width, sizeof(float));
    c.sum = grab(plan, (size_t)columns * width, sizeof(float));
    return c;
}

static Group group(Plan *plan, const Finder *f, const int *view, unsigned char *taken) {
    Eyes *e = plan->eyes;
    Group g = {.slots = number(plan, 1, MOST_SIDE)};
    int cells = f->trunk.cells;
    g.slot = grab(plan, g.slots, sizeof(int));
    g.start = grab(plan, g.slots, sizeof(int));
    for (int i = 0; i < g.slots && !plan->error; i++) {
        g.slot[i] = number(plan, 0, f->slots - 1);
        g.start[i] = number(plan, 0, e->size - 8);
        if (taken[g.slot[i]]++) wrong(plan, "a slot of it is looked at twice");
        f->start[g.slot[i]] = g.start[i];
    }
    g.high = number(plan, 1, view[2]);
    g.wide = number(plan, 1, view[3]);
    int high = number(plan, 1, g.high), wide = number(plan, 1, g.wide);
    int down = number(plan, 1, MOST_SIDE), across = number(plan, 1, MOST_SIDE), edges = number(plan, 1, MOST_SIDE);
    g.hidden = up(number(plan, 1, MOST_SIDE));
    g.bins = up(number(plan, 1, MOST_SIDE));
    g.out = LANES + 2 * g.bins;
    Layer *l = &g.edges;
    *l = (Layer){.kind = DENSE, .mode = CLIP, .rows = (g.high - high) / down + 1, .cols = (g.wide - wide) / across + 1};
    l->width = up(edges), l->taps = high, l->run = 3 * wide, l->pitch = 3L * g.wide;
    size_t n = (size_t)l->rows * l->cols;
    g.row = grab(plan, cells, sizeof(int));
    g.col = grab(plan, cells, sizeof(int));
    for (int i = 0; i < cells && !plan->error; i++) {
        int base = number(plan, 0, MOST_SIDE * MOST_SIDE - 1);
        g.row[i] = view[0] + base / view[3];
        g.col[i] = view[1] + base % view[3];
        if (base / view[3] + g.high > view[2] || base % view[3] + g.wide > view[3]) wrong(plan, "a patch leaves the view");
    }
    l->weight = weights(plan, (size_t)high * l->run * l->width);
    l->bias = weights(plan, l->width);
    if (plan->error || n > MOST_CELLS) {
        wrong(plan, "a patch of it is too large");
        return g;
    }
    positions(plan, l);
    for (int r = 0; r < l->rows && !plan->error; r++)
        for (int c = 0; c < l->cols; c++) {
            l->from[r * l->cols + c] = r * down * (int)l->pitch + c * across * 3;
            l->to[r * l->cols + c] = (r * l->cols + c) * l->width;
        }
    if (n * l->width > MOST_CELLS) {
        wrong(plan, "a patch of it is too large");
        return g;
    }
    g.look = linear(plan, (int)n * l->width, g.hidden, 0);
    g.fixed = weights(plan, (size_t)g.slots * g.hidden);
    g.context = linear(plan, up(f->context), g.hidden, 0);
    g.think = linear(plan, g.hidden, g.hidden, 1);
    g.last = linear(plan, g.hidden, g.out, 1);
    g.eps = single(plan);
    g.step = weights(plan, (size_t)g.slots * 2 * g.bins);
    g.corner = weights(plan, (size_t)cells * 2);
    g.patch = grab(plan, (size_t)g.high * g.wide * 3, sizeof(float));
    g.edge = grab(plan, g.slots * n * l->width, sizeof(float));
    g.first = grab(plan, (size_t)g.slots * g.hidden, sizeof(float));
    g.second = grab(plan, (size_t)g.slots * g.hidden, sizeof(float));
    g.third = grab(plan, (size_t)g.slots * g.hidden, sizeof(float));
    g.cell = grab(plan, g.slots, sizeof(int));
    g.answer = grab(plan, (size_t)g.slots * g.out, sizeof(float));
    return g;
}

static Grid grid(Plan *plan, const Finder *f) {
    Grid g = {0};
    int rows = number(plan, 1, MOST_SIDE), cols = number(plan, 1, MOST_SIDE);
    int top = number(plan, 0, MOST_SIDE), left = number(plan, 0, MOST_SIDE);
    int high = number(plan, 1, MOST_SIDE), wide = number(plan, 1, MOST_SIDE), width = number(plan, 1, MOST_SIDE);
    g.start = number(plan, 0, plan->eyes->size - 1);
    if ((size_t)rows * cols > (size_t)(plan->eyes->size - g.start)) {
        wrong(plan, "a grid has more cells than the scene");
        return g;
    }
    g.cells = rows * cols;
    g.own = pixels(plan, top, left, high, wide, rows, cols, width, PLAIN_SUM, 0);
    g.width = g.own.width;
    g.context = linear(plan, f->mix.outside, width, 1);
    g.weight = weights(plan, g.width);
    g.threshold = weights(plan, up(g.cells));
    g.turned = grab(plan, (size_t)g.width * up(g.cells), sizeof(float));
    return g;
}

static Gauge gauge(Plan *plan) {
    Gauge g = {0};
    int top = number(plan, 0, MOST_SIDE), left = number(plan, 0, MOST_SIDE);
    int high = number(plan, 1, MOST_SIDE), wide = number(plan, 1, MOST_SIDE), width = number(plan, 1, MOST_SIDE);
    g.start = number(plan, 0, plan->eyes->size - 1);
    g.pixels = pixels(plan, top, left, high, wide, 1, 1, width, RELU, 0);
    g.last = linear(plan, up(width), 1, 1);
    return g;
}

static Finder finder(Plan *plan, const int *view) {
    Finder f = {0};
    f.kinds = number(plan, 0, MOST_SIDE);
    f.context = number(plan, 1, MOST_SIDE);
    int maps = number(plan, 1, MOST_SIDE), pooled = number(plan, 1, MOST_SIDE), context = up(f.context);
    f.count = grab(plan, f.kinds, sizeof(int));
    for (int k = 0; k < f.kinds && !plan->error; k++) f.slots += f.count[k] = number(plan, 1, MOST_SIDE);
    if (f.slots > MOST_CELLS) wrong(plan, "it has too many slots");
    f.trunk = trunk(plan, view);
    if (plan->error) return f;
    int cells = f.trunk.cells;
    for (int k = 0; k < f.kinds; k++)
        if (f.count[k] > cells) wrong(plan, "a thing of it has more slots than there are cells");
    if (f.trunk.width != up(context + f.kinds)) wrong(plan, "its head does not fit what is read from it");
    f.low = single(plan);
    f.overlap = single(plan);
    if (f.overlap > 0 && f.slots > MOST_RIVALS) wrong(plan, "it has too many slots to compare each with each");
    f.place = weights(plan, (size_t)f.kinds * cells);
    const float *column = weights(plan, (size_t)maps * cells);
    if (plan->error) return f;
    f.pool = contraction(plan, cells, maps, context, column, f.trunk.layer[f.trunk.layers - 1].made, f.trunk.width);
    if ((long)maps * context > MOST_CELLS) wrong(plan, "it pools too much");
    f.mix = linear(plan, maps * context, pooled, 1);
    f.shake = linear(plan, f.mix.outside, 2, 1);
    f.heat = grab(plan, (size_t)f.kinds * cells, sizeof(float));
    f.pooled = grab(plan, 2 * (size_t)f.mix.outside, sizeof(float));
    f.camera = grab(plan, LANES, sizeof(float));
    f.shared = grab(plan, up(MOST_SIDE), sizeof(float));
    f.cell = grab(plan, f.slots, sizeof(int));
    f.value = grab(plan, f.slots, sizeof(float));
    f.kind = grab(plan, f.slots, sizeof(int));
    f.start = grab(plan, f.slots, sizeof(int));
    f.sure = grab(plan, f.slots, sizeof(float));
    f.beaten = grab(plan, f.slots, 1);
    for (int k = 0, i = 0; k < f.kinds && !plan->error; k++)
        for (int n = f.count[k]; n; n--, i++) f.kind[i] = k, f.start[i] = -1;
    f.groups = number(plan, 0, MOST_PARTS);
    f.group = grab(plan, f.groups, sizeof(Group));
    unsigned char *taken = grab(plan, f.slots, 1);
    for (int i = 0; i < f.groups && !plan->error; i++) f.group[i] = group(plan, &f, view, taken);
    f.grids = number(plan, 0, MOST_PARTS);
    f.grid = grab(plan, f.grids, sizeof(Grid));
    for (int i = 0; i < f.grids && !plan->error; i++) f.grid[i] = grid(plan, &f);
    f.gauges = number(plan, 0, MOST_PARTS);
    f.gauge = grab(plan, f.gauges, sizeof(Gauge));
    for (int i = 0; i < f.gauges && !plan->error; i++) f.gauge[i] = gauge(plan);
    return f;
}

static Sight sight(Plan *plan, const int *view) {
    Sight s = {.marks = number(plan, 1, MOST_SIDE)};
    s.glimpse = number(plan, 0, MOST_SIDE);
    s.width = up(s.marks);
    s.trunk = trunk(plan, view);
    if (plan->error) return s;
    if (s.trunk.width != up(s.width + s.glimpse)) wrong(plan, "its head does not fit what is read from it");
    int cells = s.trunk.cells, columns = 3 + s.glimpse; /* one, y, x, what is seen */
    s.sharp = single(plan);
    s.near = single(plan);
    const float *places = weights(plan, 2 * (size_t)cells);
    if ((long)(columns + 2) * s.width > MOST_CELLS) wrong(plan, "it reads too much");
    s.heat = grab(plan, (size_t)cells * s.width, sizeof(float));
    s.column = grab(plan, (size_t)columns * cells, sizeof(float));
    s.peak = grab(plan, (size_t)s.width * ((cells + CHUNK - 1) / CHUNK), sizeof(float));
    s.highest = grab(plan, s.width, sizeof(float));
    s.level = grab(plan, s.width, sizeof(float));
    s.code_size = (columns + 2) * s.width; /* y, x, what is seen, y and x from the middle, highest */
    s.code = grab(plan, s.code_size, sizeof(float));
    int hidden = number(plan, 1, MOST_SIDE), outs = number(plan, 1, MOST_SIDE);
    s.straight = linear(plan, s.code_size, outs, 1);
    s.hidden = linear(plan, s.code_size, hidden, 1);
    s.think = linear(plan, s.hidden.outside, hidden, 1);
    s.last = linear(plan, s.hidden.outside, outs, 1);
    s.first = grab(plan, s.hidden.outside, sizeof(float));
    s.second = grab(plan, s.hidden.outside, sizeof(float));
    s.raw = grab(plan, 2 * (size_t)s.last.outside, sizeof(float));
    s.readings = number(plan, 1, MOST_PARTS);
    s.reading = grab(plan, s.readings, sizeof(Reading));
    if (plan->error) return s;
    for (int i = 0; i < cells; i++) {
        s.column[i] = 1;
        s.column[cells + i] = places[i];
        s.column[2 * cells + i] = places[cells + i];
    }
    s.means = contraction(plan, cells, columns, s.width, s.column, s.heat, s.width);
    for (int i = 0; i < s.readings && !plan->error; i++) {
        Reading *r = &s.reading[i];
        r->start = number(plan, 0, plan->eyes->size - 1);
        r->logit = number(plan, 0, outs - 1);
        r->fields = number(plan, 1, MOST_SIDE);
        if (r->start + r->fields + 2 > plan->eyes->size) wrong(plan, "a reading has more fields than the scene");
        r->field = grab(plan, r->fields, sizeof(Field));
        for (int k = 0; k < r->fields && !plan->error; k++) {
            Field *one = &r->field[k];
            one->wrap = number(plan, 0, 1);
            one->at = number(plan, 0, outs - 1 - one->wrap);
            one->low = single(plan), one->high = single(plan), one->half = single(plan), one->middle = single(plan);
        }
    }
    return s;
}

/* Block numbers of the frame's rows, or of its columns `step` bytes wide, so that one of them begins at `start`. */
static int *blocks(Plan *plan, int side, int step, int block, int start, int *count) {
    int *made = grab(plan, (size_t)side * step, sizeof(int)), shift = (block - start % block) % block;
    *count = (side - 1 + shift) / block + 1;
    if (plan->error) return NULL;
    for (int i = 0; i < side * step; i++) made[i] = (i / step + shift) / block;
    return made;
}

static int room_of(const Layer *l) { return l->kind == PIXELS ? l->taps * l->run : 0; }

static void build(Plan *plan) {
    Eyes *e = plan->eyes;
    if (number(plan, 0, 1 << 30) != FORMAT) wrong(plan, "it is of another version");
    e->height = number(plan, 1, MOST_SIDE), e->width = number(plan, 1, MOST_SIDE);
    e->size = number(plan, 1, 1 << 16), e->window = number(plan, 1, MOST_WINDOW);
    e->block_high = number(plan, 1, 64), e->block_wide = number(plan, 1, 64);
    int view[4]; /* top, left, height, width */
    for (int i = 0; i < 4; i++) view[i] = number(plan, i > 1, MOST_SIDE);
    e->finds = number(plan, 0, 1), e->reads = number(plan, 0, 1);
    if (view[0] + view[2] > e->height || view[1] + view[3] > e->width) wrong(plan, "its view leaves the frame");
    if (view[2] < e->block_high || view[3] < e->block_wide) wrong(plan, "its view is smaller than a block");
    e->block_row = blocks(plan, e->height, 1, e->block_high, view[0], &e->block_rows);
    e->block_col = blocks(plan, e->width, 3, e->block_wide, view[1], &e->block_cols);
    e->edge = grab(plan, (size_t)e->block_cols + 1, sizeof(int));
    for (int i = 3 * e->width - 1; i >= 0 && !plan->error; i--) e->edge[e->block_col[i]] = i;
    if (!plan->error) e->edge[e->block_cols] = 3 * e->width;
    e->row_from = grab(plan, e->height, sizeof(int));
    e->row_to = grab(plan, e->height, sizeof(int));
    e->block = grab(plan, (size_t)e->block_rows * e->block_cols, 1);
    e->list = grab(plan, (size_t)e->block_rows * e->block_cols, sizeof(int));
    size_t bytes = (size_t)e->height * e->width * 3;
    e->frame = grab(plan, bytes, 1);
    if (e->window > 1) {
        e->past = grab(plan, bytes * e->window, 1);
        e->most = grab(plan, bytes, 1);
    }
    e->scene = grab(plan, e->size, sizeof(float));
    if (e->finds && !plan->error) e->finder = finder(plan, view);
    if (e->reads && !plan->error) e->sight = sight(plan, view);
    if (plan->error) return;
    if (plan->numbers || plan->floats) wrong(plan, "it goes on after its end");
    int most = e->block_high * e->block_wide * 3, widest = 0;
    const Trunk *trunks[2] = {&e->finder.trunk, &e->sight.trunk};
    for (int t = 0; t < 2; t++)
        for (int i = 0; i < trunks[t]->layers; i++)
            if (trunks[t]->layer[i].width > widest) widest = trunks[t]->layer[i].width;
    for (int i = 0; i < e->finder.grids; i++) {
        const Layer *l = &e->finder.grid[i].own;
        if (room_of(l) > most) most = room_of(l);
        if (l->width > widest) widest = l->width;
    }
    for (int i = 0; i < e->finder.gauges; i++) {
        const Layer *l = &e->finder.gauge[i].pixels;
        if (room_of(l) > most) most = room_of(l);
        if (l->width > widest) widest = l->width;
    }
    e->room = grab(plan, 4 * ((size_t)up(most) + widest), sizeof(float));
}

/* ---------------------------------------------------------------------------------------------------- */
/* The look, once for each instruction set. */

/* Vectors that may lie anywhere. */
typedef float F4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef float F8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef float F16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t B8 __attribute__((vector_size(32), aligned(4), may_alias));

/* Finish a vector of sums: negative ones become 0, with CLIP those above 1 become 1; NaN stays. */
#define FINISH(sum, mode)                                                                            \
    do {                                                                                             \
        __typeof__(sum < 0) low = sum < 0;                                                           \
        if (mode != PLAIN_SUM) sum = (__typeof__(sum))((__typeof__(low))sum & ~low);                 \
        __typeof__(low) high = sum > 1, one = (__typeof__(low))((__typeof__(sum)){0} + 1);           \
        if (mode == CLIP) sum = (__typeof__(sum))(((__typeof__(low))sum & ~high) | (one & high));    \
    } while (0)

static const float nothing[MOST_SIDE + 16];
static const double WHOLE = 0.5; /* of a layer: beyond it, listing costs more than it saves */
static const double MUCH = 0.9;  /* of the blocks in the first of PROBE parts of a frame: all of it is looked at */
enum { PROBE = 6 };
static const float GAP = 32;     /* between levels of heat: the hottest cell counts e ** -32 at least, of 1e-38 that there is */

#define FOR_SET(name) name##_plain
#define WIDEST 4
#include "eyes_look.h"
#undef FOR_SET
#undef WIDEST

#if defined(__x86_64__) && defined(__GNUC__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif
#define FOR_SET(name) name##_avx2
#define WIDEST 8
#include "eyes_look.h"
#undef FOR_SET
#undef WIDEST
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq")
#endif
#define FOR_SET(name) name##_avx512
#define WIDEST 16
#include "eyes_look.h"
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#else
#define look_avx2 look_plain
#define look_avx512 look_plain
#endif

static void (*const looks[LEVELS])(Eyes *, const unsigned char *, int) = {look_plain, look_avx2, look_avx512};

/* ---------------------------------------------------------------------------------------------------- */
/* What others may do with it: core.h. */

void eyes_close(Eyes *e) {
    if (!e) return;
    for (Memory *m = e->memory, *next; m; m = next) {
        next = m->next;
        free(m);
    }
    free(e);
}

Eyes *eyes_open(const int32_t *numbers, size_t count, const float *weights, size_t floats, const char **error) {
    Eyes *e = calloc(1, sizeof(Eyes));
    Plan plan = {.eyes = e, .number = numbers, .numbers = count, .floats = floats};
    if (!e) {
        *error = "there is not enough memory";
        return NULL;
    }
    float *own = grab(&plan, floats, sizeof(float));
    if (own) memcpy(own, weights, floats * sizeof(float));
    plan.weight = own;
    if (!plan.error) build(&plan);
    if (!plan.error) return e;
    *error = plan.error;
    eyes_close(e);
    return NULL;
}

size_t eyes_bytes(const Eyes *e) { return (size_t)e->height * e->width * 3; }

int eyes_values(const Eyes *e) { return e->size; }

void eyes_sides(const Eyes *e, int *height, int *width) { *height = e->height, *width = e->width; }

/* With a window the frame that is looked at is the pixelwise maximum of the last ones. */
static const unsigned char *through_window(Eyes *e, const unsigned char *frame) {
    size_t bytes = eyes_bytes(e);
    if (e->window == 1) return frame;
    memcpy(e->past + e->next * bytes, frame, bytes);
    e->next = (e->next + 1) % e->window;
    if (e->kept < e->window) e->kept++;
    memcpy(e->most, e->past, bytes); /* the first `kept` are those there are: the ring begins anew with every episode */
    for (int k = 1; k < e->kept; k++) {
        const unsigned char *one = e->past + k * bytes;
        for (size_t i = 0; i < bytes; i++) e->most[i] = one[i] > e->most[i] ? one[i] : e->most[i];
    }
    return e->most;
}

const float *eyes_look(Eyes *e, const unsigned char *frame, int way) {
    const unsigned char *seen = way == WINDOW ? through_window(e, frame) : frame;
    looks[engine_level()](e, seen, way == ANEW || !e->started);
    e->started = 1;
    return e->scene;
}

void eyes_restart(Eyes *e) { e->kept = e->next = 0; }

double eyes_took(Eyes *e) {
    double share = e->every ? e->looked / e->every : 0;
    e->looked = e->every = 0;
    return share;
}

/* Past frames, and before them how many there are and where the next one goes. */
size_t eyes_kept(const Eyes *e) { return e->window == 1 ? 0 : 2 * sizeof(int32_t) + e->window * eyes_bytes(e); }

void eyes_save(const Eyes *e, void *kept) {
    const int32_t head[2] = {e->kept, e->next};
    if (e->window == 1) return;
    memcpy(kept, head, sizeof head);
    memcpy((char *)kept + sizeof head, e->past, e->window * eyes_bytes(e));
}

void eyes_load(Eyes *e, const void *kept) {
    int32_t head[2];
    if (e->window == 1) return;
    memcpy(head, kept, sizeof head);
    for (int i = 0; i < 2; i++) head[i] = head[i] < 0 || head[i] > e->window ? 0 : head[i]; /* whatever was given */
    e->kept = head[0], e->next = head[1] % e->window;
    memcpy(e->past, (const char *)kept + sizeof head, e->window * eyes_bytes(e));
}
