/* One look of the network in eyes.c, which includes this file once for each instruction set: FOR_SET(name) is the name
   there, WIDEST how many numbers a register holds. Nothing here depends on either but how fast it goes. */

#define INLINE static inline __attribute__((always_inline, unused))

#if WIDEST == 4
#define WIDE F4
#elif WIDEST == 8
#define WIDE F8
#else
#define WIDE F16
#endif

/* Sums at PLACES positions, for VECTORS * sizeof(T) / 4 channels from `at` on: bias + x * w, term by term in the order of
   the taps. `step` lies between the weights of two terms. */
#define SUMS(NAME, T, PLACES, VECTORS)                                                                                    \
    static void FOR_SET(NAME)(const float *const *x, long pitch, int taps, int run, const float *w, int step, int at,     \
                              const float *const *bias, float *const *y, int mode) {                                      \
        enum { L = sizeof(T) / sizeof(float) };                                                                           \
        T sum[PLACES][VECTORS];                                                                                           \
        _Pragma("GCC unroll 8") for (int p = 0; p < PLACES; p++)                                                          \
            _Pragma("GCC unroll 8") for (int v = 0; v < VECTORS; v++) sum[p][v] = *(const T *)(bias[p] + at + v * L);      \
        w += at;                                                                                                          \
        for (int r = 0; r < taps; r++)                                                                                    \
            for (int i = 0; i < run; i++, w += step) {                                                                    \
                T by[VECTORS];                                                                                            \
                _Pragma("GCC unroll 8") for (int v = 0; v < VECTORS; v++) by[v] = *(const T *)(w + v * L);                 \
                _Pragma("GCC unroll 8") for (int p = 0; p < PLACES; p++)                                                  \
                    _Pragma("GCC unroll 8") for (int v = 0; v < VECTORS; v++) sum[p][v] += x[p][r * pitch + i] * by[v];    \
            }                                                                                                             \
        _Pragma("GCC unroll 8") for (int p = 0; p < PLACES; p++)                                                          \
            _Pragma("GCC unroll 8") for (int v = 0; v < VECTORS; v++) {                                                   \
            FINISH(sum[p][v], mode);                                                                                      \
            *(T *)(y[p] + at + v * L) = sum[p][v];                                                                        \
        }                                                                                                                 \
    }

SUMS(four_by_two, WIDE, 4, 2)
SUMS(one_by_four, WIDE, 1, 4)
#if WIDEST > 4
SUMS(four_by_one, WIDE, 4, 1)
SUMS(one_by_one, WIDE, 1, 1)
#else
SUMS(one_by_two, WIDE, 1, 2)
#endif
#if WIDEST > 8
SUMS(four_by_eight, F8, 4, 1)
SUMS(one_by_eight, F8, 1, 1)
#endif

/* The same for all `width` channels at `n` = 1 or 4 positions. */
static void FOR_SET(sums)(int n, const float *const *x, long pitch, int taps, int run, const float *w, int step, int width,
                          const float *const *bias, float *const *y, int mode) {
    int at = 0;
#define WHILE(NAME, CHANNELS) \
    for (; width - at >= CHANNELS; at += CHANNELS) FOR_SET(NAME)(x, pitch, taps, run, w, step, at, bias, y, mode)
    if (n > 1) {
        WHILE(four_by_two, 2 * WIDEST);
#if WIDEST > 4
        WHILE(four_by_one, WIDEST);
#endif
#if WIDEST > 8
        WHILE(four_by_eight, 8);
#endif
    } else {
        WHILE(one_by_four, 4 * WIDEST);
#if WIDEST > 4
        WHILE(one_by_one, WIDEST);
#else
        WHILE(one_by_two, 2 * WIDEST);
#endif
#if WIDEST > 8
        WHILE(one_by_eight, 8);
#endif
    }
#undef WHILE
}

/* Sums of each channel by itself, for VECTORS * sizeof(T) / 4 of them from `at` on. */
#define CHANNELS(NAME, T, VECTORS)                                                                                        \
    static void FOR_SET(NAME)(const Layer *l, const float *x, float *y, int at) {                                         \
        enum { L = sizeof(T) / sizeof(float) };                                                                           \
        const float *w = l->weight + at;                                                                                  \
        T sum[VECTORS];                                                                                                   \
        _Pragma("GCC unroll 8") for (int v = 0; v < VECTORS; v++) sum[v] = *(const T *)(l->bias + at + v * L);            \
        for (int r = 0; r < l->taps; r++)                                                                                 \
            for (int i = 0; i < l->run; i += l->width, w += l->width)                                                     \
                _Pragma("GCC unroll 8") for (int v = 0; v < VECTORS; v++) sum[v] +=                                       \
                    *(const T *)(x + r * l->pitch + i + at + v * L) * *(const T *)(w + v * L);                            \
        _Pragma("GCC unroll 8") for (int v = 0; v < VECTORS; v++) {                                                       \
            FINISH(sum[v], l->mode);                                                                                      \
            *(T *)(y + at + v * L) = sum[v];                                                                              \
        }                                                                                                                 \
    }

#if WIDEST > 8
CHANNELS(many_each, F16, 2)
CHANNELS(eight_each, F8, 1)
#elif WIDEST > 4
CHANNELS(many_each, F8, 4)
CHANNELS(eight_each, F8, 1)
#else
CHANNELS(many_each, F4, 4)
CHANNELS(eight_each, F4, 2)
#endif

static void FOR_SET(depthwise)(const Layer *l, const float *x, float *y) {
    int at = 0, many = WIDEST > 4 ? 32 : 16;
    for (; l->width - at >= many; at += many) FOR_SET(many_each)(l, x, y, at);
    for (; at < l->width; at += 8) FOR_SET(eight_each)(l, x, y, at);
}

/* One row of `x` through a linear layer; `bias`: instead of its own. */
static void FOR_SET(apply)(const Linear *l, const float *x, const float *bias, float *y, int mode) {
    FOR_SET(sums)(1, &x, 0, 1, l->inside, l->weight, l->outside, l->outside, bias ? &bias : &l->bias, &y, mode);
}

/* Whether two lots of values differ in any bit. */
INLINE int FOR_SET(differ)(const float *a, const float *b, int width) {
    B8 found = {0};
    for (int i = 0; i < width; i += 8) found |= *(const B8 *)(a + i) ^ *(const B8 *)(b + i);
    return (found[0] | found[1] | found[2] | found[3] | found[4] | found[5] | found[6] | found[7]) != 0;
}

INLINE void FOR_SET(floats)(const unsigned char *from, int n, float *to) {
    int i = 0;
#ifdef __SSE2__ /* which compilers do not find by themselves */
    const __m128i zero = _mm_setzero_si128();
    for (int four; i + 4 <= n; i += 4) {
        memcpy(&four, from + i, 4);
        __m128i v = _mm_unpacklo_epi16(_mm_unpacklo_epi8(_mm_cvtsi32_si128(four), zero), zero);
        _mm_storeu_ps(to + i, _mm_cvtepi32_ps(v));
    }
#endif
    for (; i < n; i++) to[i] = from[i];
}

/* List what of a layer a change of its source can have reached; beyond WHOLE of it all. */
static void FOR_SET(spread)(Layer *l, const int *source, int n, int whole) {
    int all = l->rows * l->cols, most = (int)(WHOLE * all);
    l->changed = 0;
    for (int i = 0; i < n && !whole; i++) {
        int row = source[i] / l->source_cols, col = source[i] % l->source_cols;
        for (int r = l->down.first[row]; r <= l->down.last[row]; r++)
            for (int c = l->across.first[col]; c <= l->across.last[col]; c++) {
                int at = r * l->cols + c;
                if (!l->mark[at]) l->list[l->changed++] = at;
                l->mark[at] = 1;
            }
        whole = l->changed > most;
    }
    if (whole)
        for (int i = 0; i < l->changed; i++) l->mark[l->list[i]] = 0;
    l->whole = whole;
}

/* Look at the listed positions of a layer; then those are listed whose values changed. */
static void FOR_SET(layer)(Eyes *e, Layer *l) {
    int n = l->whole ? l->rows * l->cols : l->changed, kept = 0, width = l->width;
    int seen = l->taps * l->run;
    float *fresh = e->room, *room = e->room + 4 * width;
    const float *bias[4] = {l->bias, l->bias, l->bias, l->bias}, *x[4];
    for (int i = 0; i < n; i += 4) {
        int places = n - i < 4 ? n - i : 4, at[4];
        float *y[4];
        for (int p = 0; p < 4; p++) {
            int k = p < places ? i + p : n - 1;
            at[p] = l->whole ? k : l->list[k];
            y[p] = l->whole ? l->made + l->to[at[p]] : fresh + p * width;
        }
        if (l->kind == DEPTHWISE) {
            for (int p = 0; p < places; p++) FOR_SET(depthwise)(l, l->source + l->from[at[p]], y[p]);
        } else if (l->kind == DENSE) {
            for (int p = 0; p < 4; p++) x[p] = l->source + l->from[at[p]];
            FOR_SET(sums)(places, x, l->pitch, l->taps, l->run, l->weight, width, width, bias, y, l->mode);
        } else {
            for (int p = 0; p < 4; p++) {
                x[p] = room + p * up(seen);
                for (int r = 0; r < l->taps && p < places; r++)
                    FOR_SET(floats)(e->frame + l->from[at[p]] + r * l->pitch, l->run, room + p * up(seen) + r * l->run);
            }
            for (int p = places; p < 4; p++) x[p] = x[places - 1];
            FOR_SET(sums)(places, x, 0, 1, seen, l->weight, width, width, bias, y, l->mode);
        }
        for (int p = 0; p < places && !l->whole; p++) {
            float *old = l->made + l->to[at[p]];
            l->mark[at[p]] = 0;
            if (!FOR_SET(differ)(y[p], old, width)) continue;
            memcpy(old, y[p], width * sizeof(float));
            l->list[kept++] = at[p];
        }
    }
    l->changed = kept;
}

/* All layers, one after the other; whether any feature changed. */
static int FOR_SET(features)(Eyes *e, Trunk *t, int whole) {
    const int *source = e->list;
    int n = e->changed;
    for (int i = 0; i < t->layers; i++) {
        Layer *l = &t->layer[i];
        FOR_SET(spread)(l, source, n, whole);
        e->every += l->rows * l->cols;
        e->looked += l->whole ? l->rows * l->cols : l->changed;
        FOR_SET(layer)(e, l);
        source = l->list, n = l->changed, whole = l->whole;
    }
    memset(t->moved, whole, t->cells);
    memset(t->chunk, whole, (t->cells + CHUNK - 1) / CHUNK);
    for (int i = 0; i < n && !whole; i++) t->moved[source[i]] = t->chunk[source[i] / CHUNK] = 1;
    return whole || n;
}

/* Sum what changed, and then over all chunks. */
static void FOR_SET(contract)(Contraction *c, const unsigned char *chunk) {
    const float *bias[4] = {nothing, nothing, nothing, nothing};
    for (int b = 0; b < c->chunks; b++) {
        int first = b * CHUNK, run = c->cells - first < CHUNK ? c->cells - first : CHUNK;
        for (int i = 0; i < c->columns && chunk[b]; i += 4) {
            const float *x[4];
            float *y[4];
            for (int p = 0; p < 4; p++) {
                int k = i + p < c->columns ? i + p : c->columns - 1;
                x[p] = c->column + (long)k * c->cells + first;
                y[p] = c->part + ((long)b * c->columns + k) * c->width;
            }
            FOR_SET(sums)(4, x, 0, 1, run, c->feature + first * c->pitch, (int)c->pitch, c->width, bias, y, PLAIN_SUM);
        }
    }
    int n = c->columns * c->width;
    for (int i = 0; i < n; i += 8) {
        F8 sum = {0};
        for (int b = 0; b < c->chunks; b++) sum += *(const F8 *)(c->part + (long)b * n + i);
        *(F8 *)(c->sum + i) = sum;
    }
}

/* e to the power of each: 2 ** n times a polynomial, to a unit or two in the last place. */
INLINE void FOR_SET(power)(F8 *x) {
    const float least = -87, most = 88, round = 12582912; /* 1.5 * 2 ** 23: what is added has no bits for fractions */
    B8 low = (B8)(*x < least), high = (B8)(*x > most);
    F8 v = (F8)(((B8)*x & ~low & ~high) | ((B8)((F8){0} + least) & low) | ((B8)((F8){0} + most) & high));
    F8 n = (v * 1.44269504088896341f + round) - round;
    F8 r = v - n * 0.693359375f - n * -2.12194440e-4f;
    F8 p = ((((1.9875691500e-4f * r + 1.3981999507e-3f) * r + 8.3334519073e-3f) * r + 4.1665795894e-2f) * r
            + 1.6666665459e-1f) * r + 5.0000001201e-1f;
    p = p * r * r + r + 1;
    B8 bits = (__builtin_convertvector(n, B8) + 127) << 23;
    *x = p * (F8)bits;
}

INLINE float FOR_SET(sigmoid)(float x) {
    F8 v = (F8){0} - x;
    FOR_SET(power)(&v);
    return 1 / (1 + v[0]);
}

/* The mean of `step` under the softmax of `score`; both have `n` values, a multiple of 8. */
static float FOR_SET(mean)(const float *score, const float *step, int n) {
    float most = score[0], weights = 0, sum = 0;
    for (int i = 1; i < n; i++) most = score[i] > most ? score[i] : most;
    F8 all = {0}, along = {0};
    for (int i = 0; i < n; i += 8) {
        F8 v = *(const F8 *)(score + i) - most;
        FOR_SET(power)(&v);
        all += v;
        along += v * *(const F8 *)(step + i);
    }
    for (int k = 0; k < 8; k++) weights += all[k], sum += along[k];
    return sum / weights;
}

/* Whether a block that a rectangle of the frame touches has changed. */
INLINE int FOR_SET(touched)(const Eyes *e, int top, int left, int high, int wide) {
    for (int r = e->block_row[top]; r <= e->block_row[top + high - 1]; r++)
        for (int c = e->block_col[3 * left]; c <= e->block_col[3 * (left + wide) - 1]; c++)
            if (e->block[r * e->block_cols + c]) return 1;
    return 0;
}

/* The cell of every slot: the hottest, or the hottest of those that no neighbour exceeds; of equals the first. */
static void FOR_SET(choose)(Finder *f) {
    const Layer *last = &f->trunk.layer[f->trunk.layers - 1];
    int *cell = f->cell;
    for (int k = 0; k < f->kinds; cell += f->count[k++]) {
        const float *heat = f->heat + (long)k * f->trunk.cells;
        if (f->count[k] == 1) {
            int best = 0;
            for (int i = 1; i < f->trunk.cells; i++) best = heat[i] > heat[best] ? i : best;
            cell[0] = best;
            continue;
        }
        int found = 0;
        for (int r = 0, i = 0; r < last->rows; r++)
            for (int c = 0; c < last->cols; c++, i++) {
                float value = heat[i];
                for (int y = r ? r - 1 : 0; y <= r + 1 && y < last->rows; y++)
                    for (int x = c ? c - 1 : 0; x <= c + 1 && x < last->cols; x++)
                        if (heat[y * last->cols + x] > heat[i]) value = f->low;
                int at = found < f->count[k] ? found++ : found;
                if (at == found && !(value > f->value[at - 1])) continue;
                for (at -= at == found; at && value > f->value[at - 1]; at--) {
                    f->value[at] = f->value[at - 1];
                    cell[at] = cell[at - 1];
                }
                f->value[at] = value;
                cell[at] = i;
            }
    }
}

/* The patch around a cell with mean 0 and variance 1, its edges, and what they say: the slot's answer. */
static void FOR_SET(refine)(Eyes *e, Group *g, int slot, int cell) {
    const Trunk *t = &e->finder.trunk;
    const unsigned char *pixel = e->frame + ((long)g->row[cell] * e->width + g->col[cell]) * 3;
    int wide = 3 * g->wide;
    int64_t sum = 0, squares = 0;
    for (int r = 0; r < g->high; r++) {
        const unsigned char *row = pixel + (long)r * e->width * 3;
        unsigned one = 0, two = 0;
        for (int i = 0; i < wide; i++) one += row[i], two += (unsigned)row[i] * row[i];
        sum += one, squares += two;
    }
    double n = (double)g->high * wide, middle = sum / n, spread = squares / n - middle * middle;
    float mean = (float)middle, scale = (float)(1 / sqrt((spread > 0 ? spread : 0) + g->eps));
    for (int r = 0; r < g->high; r++) {
        const unsigned char *row = pixel + (long)r * e->width * 3;
        for (int i = 0; i < wide; i++) g->patch[r * wide + i] = ((float)row[i] - mean) * scale;
    }
    const Layer *l = &g->edges;
    const float *bias[4] = {l->bias, l->bias, l->bias, l->bias}, *x[4];
    int spots = l->rows * l->cols;
    for (int i = 0; i < spots; i += 4) {
        float *y[4];
        for (int p = 0; p < 4; p++) {
            int at = i + p < spots ? i + p : spots - 1;
            x[p] = g->patch + l->from[at];
            y[p] = g->edge + l->to[at];
        }
        FOR_SET(sums)(4, x, l->pitch, l->taps, l->run, l->weight, l->width, l->width, bias, y, l->mode);
    }
    const float *feature = t->layer[t->layers - 1].made + (long)cell * t->width;
    FOR_SET(apply)(&g->context, feature, g->fixed + (long)slot * g->hidden, g->first, PLAIN_SUM);
    FOR_SET(apply)(&g->look, g->edge, g->first, g->second, RELU);
    FOR_SET(apply)(&g->think, g->second, NULL, g->third, RELU);
    FOR_SET(apply)(&g->last, g->third, NULL, g->answer + (long)slot * g->out, PLAIN_SUM);
}

static void FOR_SET(group)(Eyes *e, Group *g, int whole) {
    Finder *f = &e->finder;
    for (int i = 0; i < g->slots; i++) {
        int cell = f->cell[g->slot[i]];
        const float *answer = g->answer + (long)i * g->out, *step = g->step + (long)i * 2 * g->bins;
        if (whole || cell != g->cell[i] || f->trunk.moved[cell] || FOR_SET(touched)(e, g->row[cell], g->col[cell], g->high, g->wide))
            FOR_SET(refine)(e, g, i, cell);
        g->cell[i] = cell;
        float *scene = e->scene + g->start[i], seen = answer[0] > 0;
        float x = FOR_SET(mean)(answer + LANES, step, g->bins) + g->corner[2 * cell] + f->camera[0];
        float y = FOR_SET(mean)(answer + LANES + g->bins, step + g->bins, g->bins) + g->corner[2 * cell + 1] + f->camera[1];
        scene[0] = seen, scene[1] = x * seen, scene[2] = y * seen, scene[3] = answer[1] * seen, scene[4] = answer[2] * seen;
        scene[5] = scene[6] = 0, scene[7] = FOR_SET(sigmoid)(answer[0]);
        f->sure[g->slot[i]] = answer[0];
    }
}

/* How long two boxes overlap along an axis. */
INLINE float FOR_SET(shared)(float a, float a_size, float b, float b_size) {
    float low = a - a_size * 0.5f, other_low = b - b_size * 0.5f, high = a + a_size * 0.5f, other_high = b + b_size * 0.5f;
    float length = (high < other_high ? high : other_high) - (low > other_low ? low : other_low);
    return length > 0 ? length : 0;
}

/* One place belongs to one kind: slots at whose place another one is surer, by what was seen there at first, are empty. */
static void FOR_SET(contend)(Eyes *e) {
    Finder *f = &e->finder;
    memset(f->beaten, 0, f->slots);
    for (int i = 0; i < f->slots; i++)
        for (int j = 0; j < f->slots; j++) {
            if (f->start[i] < 0 || f->start[j] < 0 || f->kind[i] == f->kind[j] || !(f->sure[j] > f->sure[i])) continue;
            const float *a = e->scene + f->start[i], *b = e->scene + f->start[j];
            float both = FOR_SET(shared)(a[1], a[3], b[1], b[3]) * FOR_SET(shared)(a[2], a[4], b[2], b[4]);
            f->beaten[i] |= both > (a[3] * a[4] + b[3] * b[4] - both) * f->overlap;
        }
    for (int i = 0; i < f->slots; i++)
        if (f->beaten[i]) memset(e->scene + f->start[i], 0, 8 * sizeof(float));
}

static void FOR_SET(grid)(Eyes *e, Grid *g, int pooled, int whole) {
    Layer *l = &g->own;
    FOR_SET(spread)(l, e->list, e->changed, whole);
    FOR_SET(layer)(e, l);
    int n = l->whole ? g->cells : l->changed, pitch = up(g->cells);
    if (!n && !pooled) return;
    for (int i = 0; i < n; i++) {
        int at = l->whole ? i : l->list[i];
        for (int c = 0; c < g->width; c++) g->turned[c * pitch + at] = l->made[at * g->width + c];
    }
    float *shared = e->finder.shared;
    FOR_SET(apply)(&g->context, e->finder.pooled, NULL, shared, PLAIN_SUM);
    for (int i = 0; i < g->cells; i += 8) {
        F8 sum = {0};
        for (int c = 0; c < g->width; c++) {
            F8 one = *(const F8 *)(g->turned + c * pitch + i) + shared[c];
            sum += (F8)((B8)one & ~(B8)(one < 0)) * g->weight[c];
        }
        for (int k = 0; k < 8 && i + k < g->cells; k++) e->scene[g->start + i + k] = sum[k] > g->threshold[i + k];
    }
}

static void FOR_SET(find)(Eyes *e, int whole) {
    Finder *f = &e->finder;
    Trunk *t = &f->trunk;
    int pooled = 0, context = up(f->context);
    if (FOR_SET(features)(e, t, whole)) {
        const Layer *last = &t->layer[t->layers - 1];
        int n = last->whole ? t->cells : last->changed;
        for (int i = 0; i < n; i++) {
            int at = last->whole ? i : last->list[i];
            for (int k = 0; k < f->kinds; k++)
                f->heat[(long)k * t->cells + at] = last->made[(long)at * t->width + context + k] + f->place[(long)k * t->cells + at];
        }
        FOR_SET(choose)(f);
        FOR_SET(contract)(&f->pool, t->chunk);
        float *fresh = f->pooled + f->mix.outside;
        FOR_SET(apply)(&f->mix, f->pool.sum, NULL, fresh, RELU);
        pooled = whole || FOR_SET(differ)(fresh, f->pooled, f->mix.outside);
        memcpy(f->pooled, fresh, f->mix.outside * sizeof(float));
        FOR_SET(apply)(&f->shake, f->pooled, NULL, f->camera, PLAIN_SUM);
    }
    for (int i = 0; i < f->groups; i++) FOR_SET(group)(e, &f->group[i], whole);
    if (f->overlap > 0) FOR_SET(contend)(e);
    for (int i = 0; i < f->grids; i++) FOR_SET(grid)(e, &f->grid[i], pooled, whole);
    for (int i = 0; i < f->gauges; i++) {
        Gauge *g = &f->gauge[i];
        FOR_SET(spread)(&g->pixels, e->list, e->changed, whole);
        FOR_SET(layer)(e, &g->pixels);
        float value[LANES];
        FOR_SET(apply)(&g->last, g->pixels.made, NULL, value, PLAIN_SUM);
        e->scene[g->start] = value[0];
    }
}

INLINE void FOR_SET(higher)(F8 *most, const float *other) {
    F8 one = *(const F8 *)other;
    B8 more = (B8)(one > *most);
    *most = (F8)(((B8)one & more) | ((B8)*most & ~more));
}

/* How hot each cell is for every mark, relative to a level that is a multiple of GAP, so that it seldom changes. */
static void FOR_SET(warm)(Sight *s, int whole) {
    const Trunk *t = &s->trunk;
    const Layer *last = &t->layer[t->layers - 1];
    const float *feature = last->made;
    for (int b = 0; b < s->means.chunks; b++) {
        int end = (b + 1) * CHUNK < t->cells ? (b + 1) * CHUNK : t->cells;
        for (int m = 0; m < s->width && t->chunk[b]; m += 8) {
            F8 most = *(const F8 *)(feature + (long)b * CHUNK * t->width + m);
            for (int i = b * CHUNK + 1; i < end; i++) FOR_SET(higher)(&most, feature + (long)i * t->width + m);
            *(F8 *)(s->peak + b * s->width + m) = most;
        }
    }
    for (int m = 0; m < s->width; m += 8) {
        F8 most = *(const F8 *)(s->peak + m);
        for (int b = 1; b < s->means.chunks; b++) FOR_SET(higher)(&most, s->peak + b * s->width + m);
        *(F8 *)(s->highest + m) = most;
    }
    int all = whole || last->whole;
    for (int m = 0; m < s->width; m++) {
        float level = ceilf(s->sharp * s->highest[m] / GAP) * GAP;
        if (level != s->level[m]) all = 1;
        s->level[m] = level;
    }
    if (all) memset(s->trunk.chunk, 1, s->means.chunks);
    int n = all ? t->cells : last->changed;
    for (int i = 0; i < n; i++) {
        int at = all ? i : last->list[i];
        const float *one = feature + (long)at * t->width;
        for (int m = 0; m < s->width; m += 8) {
            F8 v = *(const F8 *)(one + m) * s->sharp - *(const F8 *)(s->level + m);
            FOR_SET(power)(&v);
            *(F8 *)(s->heat + (long)at * s->width + m) = v;
        }
        for (int g = 0; g < s->glimpse; g++) s->column[(3L + g) * t->cells + at] = one[s->width + g];
    }
}

static float FOR_SET(field)(const Field *f, const float *raw) {
    float a = raw[f->at];
    if (!f->wrap) {
        a = a * f->half + f->middle;
        return a < f->low ? f->low : a > f->high ? f->high : a;
    }
    float b = raw[f->at + 1], length = sqrtf(a * a + b * b); /* the angle by its half: where no denominator vanishes */
    float half = (float)atan(a > 0 ? b / (length + a) : (length - a) / b);
    return half * 2 * f->half + f->middle;
}

static void FOR_SET(read)(Eyes *e, int whole) {
    Sight *s = &e->sight;
    if (!FOR_SET(features)(e, &s->trunk, whole)) return;
    FOR_SET(warm)(s, whole);
    FOR_SET(contract)(&s->means, s->trunk.chunk);
    int width = s->width, rows = s->means.columns - 1;
    float *code = s->code;
    for (int r = 0; r < rows; r++)
        for (int m = 0; m < width; m++) code[r * width + m] = s->means.sum[(r + 1) * width + m] / s->means.sum[m];
    for (int r = 0; r < 2; r++) {
        float middle = 0;
        for (int m = 0; m < s->marks; m++) middle += code[r * width + m];
        middle /= s->marks;
        for (int m = 0; m < width; m++) code[(rows + r) * width + m] = (code[r * width + m] - middle) * s->near;
    }
    memcpy(code + (rows + 2) * width, s->highest, width * sizeof(float));
    float *raw = s->raw, *straight = s->raw + s->last.outside;
    FOR_SET(apply)(&s->hidden, code, NULL, s->first, RELU);
    FOR_SET(apply)(&s->think, s->first, NULL, s->second, RELU);
    FOR_SET(apply)(&s->straight, code, NULL, straight, PLAIN_SUM);
    FOR_SET(apply)(&s->last, s->second, NULL, raw, PLAIN_SUM);
    for (int i = 0; i < s->last.outside; i++) raw[i] = straight[i] + raw[i];
    for (int i = 0; i < s->readings; i++) {
        const Reading *r = &s->reading[i];
        float *scene = e->scene + r->start, seen = raw[r->logit] > 0;
        scene[0] = seen;
        for (int k = 0; k < r->fields; k++) scene[1 + k] = FOR_SET(field)(&r->field[k], raw) * seen;
        scene[1 + r->fields] = FOR_SET(sigmoid)(raw[r->logit]);
    }
}

/* Whether two runs of bytes differ. */
INLINE int FOR_SET(unequal)(const unsigned char *a, const unsigned char *b, int n) {
    uint64_t x, y;
    if (n < 8) {
        for (int i = 0; i < n; i++)
            if (a[i] != b[i]) return 1;
        return 0;
    }
    for (int i = 0;; i = i + 16 <= n ? i + 8 : n - 8) {
        memcpy(&x, a + i, 8);
        memcpy(&y, b + i, 8);
        if (x != y) return 1;
        if (i == n - 8) return 0;
    }
}

/* The same of STRIDE bytes. */
INLINE int FOR_SET(strides)(const unsigned char *a, const unsigned char *b) {
#ifdef __SSE2__
    __m128i same = _mm_set1_epi8(-1);
    for (int i = 0; i < STRIDE; i += 16)
        same = _mm_and_si128(same, _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(a + i)), _mm_loadu_si128((const __m128i *)(b + i))));
    return _mm_movemask_epi8(same) != 0xffff;
#else
    return memcmp(a, b, STRIDE) != 0;
#endif
}

/* List the blocks in which the frame differs from the last one, and keep it. 1, and no list, where nearly all of its
   beginning differs: then finding the rest costs more than it saves. */
static int FOR_SET(compare)(Eyes *e, const unsigned char *frame) {
    int top = -1;
    e->changed = 0;
    for (int y = 0; y < e->height; y++) {
        int from = e->row_from[y], to = e->row_to[y], row = e->block_row[y] * e->block_cols;
        if (to > from && top < 0) top = y;
        const int above = top < 0 ? 0 : (e->block_row[y] - e->block_row[top]) * e->block_cols; /* blocks looked at */
        if (above && y == top + e->height / PROBE && e->changed > MUCH * above) {
            for (int i = 0; i < e->changed; i++) e->block[e->list[i]] = 0;
            e->changed = 0;
            memcpy(e->frame, frame, (size_t)e->height * e->width * 3);
            return 1;
        }
        size_t start = (size_t)y * e->width * 3;
        unsigned char *old = e->frame + start;
        const unsigned char *now = frame + start;
        if (to <= from || !memcmp(old + from, now + from, to - from)) continue;
        for (int at = from; at < to; at += STRIDE) {
            int end = at + STRIDE < to ? at + STRIDE : to;
            if (end - at == STRIDE && !FOR_SET(strides)(old + at, now + at)) continue;
            for (int c = e->block_col[at]; e->edge[c] < end; c++) { /* edge[block_cols] is the row's end */
                int first = e->edge[c] > from ? e->edge[c] : from, last = e->edge[c + 1] < to ? e->edge[c + 1] : to;
                if (e->block[row + c] || !FOR_SET(unequal)(old + first, now + first, last - first)) continue;
                e->block[row + c] = 1;
                e->list[e->changed++] = row + c;
            }
        }
        memcpy(old + from, now + from, to - from);
    }
    return 0;
}

static void FOR_SET(look)(Eyes *e, const unsigned char *frame, int whole) {
    if (whole)
        memcpy(e->frame, frame, (size_t)e->height * e->width * 3);
    else
        whole = FOR_SET(compare)(e, frame);
    if (!whole && !e->changed) return;
    if (e->finds) FOR_SET(find)(e, whole);
    if (e->reads) FOR_SET(read)(e, whole);
    for (int i = 0; i < e->changed; i++) e->block[e->list[i]] = 0;
    e->changed = 0;
}

#undef SUMS
#undef WIDE
#undef INLINE
