/* The machine: runs programs made of the intermediate form (logic/language/backends/bytecode.py), one scene a step.

   A program is data that a stranger may have written. `load` checks every operand of every instruction once: where it
   lies, how far it reaches, how it is aligned, whether it may be written. What the check cannot know, the index of an
   element, is checked when it is used. So no program reads or writes outside its own frame, constants and memory and
   the scene, whatever it says; and as every jump back is paid for, each ends. tests/native/fuzz holds that.

   Numbers are those of the language, bit for bit (docs/language.md): sums take their terms in order, and no product is
   fused with a sum (compile without contraction; the pragma says so to compilers that know it). */

#include "core.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("O3,fp-contract=off")
#endif

/* What lies in the arena is read as whatever an instruction says it is. */
#if defined(__GNUC__)
#define ANY_TYPE __attribute__((may_alias))
#else
#define ANY_TYPE
#endif
typedef double ANY_TYPE f64;
typedef float ANY_TYPE f32;
typedef int64_t ANY_TYPE i64;
typedef int32_t ANY_TYPE i32;
typedef uint8_t u8;

/* --- what a program is made of ---------------------------------------------------------------------------------- */

/* X(name, destination, three operands): how many bytes each has.
   - nothing   8 a scalar   4, 1 a cell: one element of an array
   f, o: n elements of four bytes, of one   v, p: the same, or one cell where a bit of `m` says so
   *: checked on its own */
#define SCALARS(X) \
    X(ADD, "888-") X(SUB, "888-") X(MUL, "888-") X(DIV, "888-") X(FLOORDIV, "888-") X(MOD, "888-") X(POW, "888-") \
    X(NEG, "88--") X(ABS, "88--") X(SIGN, "88--") X(MIN, "888-") X(MAX, "888-") X(CLIP, "8888") X(SQRT, "88--") \
    X(LT, "888-") X(LE, "888-") X(EQ, "888-") X(NE, "888-") \
    X(FLOOR, "88--") X(CEIL, "88--") X(ROUND, "88--") X(TRUNC, "88--") X(TOFLOAT, "88--") \
    X(IADD, "888-") X(ISUB, "888-") X(IMUL, "888-") X(IFLOORDIV, "888-") X(IMOD, "888-") \
    X(INEG, "88--") X(IABS, "88--") X(ISIGN, "88--") X(IMIN, "888-") X(IMAX, "888-") X(ICLIP, "8888") \
    X(ILT, "888-") X(ILE, "888-") X(IEQ, "888-") X(INE, "888-") X(BOUND, "88--") \
    X(NOT, "88--") X(AND, "888-") X(OR, "888-") X(SET, "88--")
#define CELLS(X) \
    X(CELLF, "48--") X(CELLI, "48--") X(WRAPI, "48--") X(CELLB, "18--") X(WIDEF, "84--") X(WIDEI, "84--") \
    X(WIDEB, "81--") X(SEENF, "84--") X(FLAT, "888-") X(ELEMF, "8f8-") X(ELEMI, "8f8-") X(ELEMB, "8o8-") \
    X(THINGF, "88*-") X(THINGB, "88*-") X(GRID, "of--")
#define ARRAYS(X) \
    X(FADD, "fvv-") X(FSUB, "fvv-") X(FMUL, "fvv-") X(FDIV, "fvv-") X(FFLOORDIV, "fvv-") X(FMOD, "fvv-") \
    X(FPOW, "fvv-") X(FMIN, "fvv-") X(FMAX, "fvv-") X(FLT, "ovv-") X(FLE, "ovv-") X(FEQ, "ovv-") X(FNE, "ovv-") \
    X(FNEG, "ff--") X(FABS, "ff--") X(FSIGN, "ff--") X(FFLOOR, "ff--") X(FEXP, "ff--") \
    X(NADD, "fvv-") X(NSUB, "fvv-") X(NMUL, "fvv-") X(NFLOORDIV, "fvv-") X(NMOD, "fvv-") X(NMIN, "fvv-") \
    X(NMAX, "fvv-") X(NLT, "ovv-") X(NLE, "ovv-") X(NEQ, "ovv-") X(NNE, "ovv-") \
    X(WLT, "of8-") X(WLE, "of8-") X(WGT, "of8-") X(WGE, "of8-") X(WEQ, "of8-") X(WNE, "of8-") \
    X(NNEG, "ff--") X(NABS, "ff--") X(NSIGN, "ff--") \
    X(BAND, "opp-") X(BOR, "opp-") X(BEQ, "opp-") X(BNE, "opp-") X(BNOT, "oo--") \
    X(ITOF, "ff--") X(BTOF, "fo--") X(FTOI, "ff--") X(BTOI, "fo--") X(WHERE4, "fvvp") X(WHERE1, "oppp") \
    X(FILL4, "f4--") X(FILL1, "o1--") X(COPY, "oo--")
#define MOVES(X) \
    X(MOVE4, "****") X(MOVE1, "****") X(PUT4, "f*8*") X(PUT1, "o*8*") X(SHIFT4, "ff-*") X(SHIFT1, "oo-*") \
    X(REF, "8*--") X(PICK, "8*8-") X(PICKREF, "888-") X(DEREF, "o8--") X(GATHERREF4, "*8*-") X(GATHERREF1, "*8*-") \
    X(GATHER4, "***-") X(GATHER1, "***-") \
    X(ELEMREFF, "888-") X(ELEMREFI, "888-") X(ELEMREFB, "888-") X(SCATTER, "*ff*") X(TOPF, "*f-*") X(TOPI, "*f-*")
#define CHOICES(X) \
    X(ARGMAXF, "8f--") X(ARGMAXI, "8f--") X(ARGMAXB, "8o--") X(ARGMINF, "8f--") X(ARGMINI, "8f--") X(ARGMINB, "8o--") \
    X(LARGEF, "8f--") X(LARGEI, "8f--") X(LARGEB, "8o--") X(SMALLF, "8f--") X(SMALLI, "8f--") X(SMALLB, "8o--") \
    X(TOTALF, "8f--") X(TOTALI, "8f--") X(COUNTF, "8f--") X(COUNTI, "8f--") X(COUNTB, "8o--") X(ANY, "8o--") \
    X(ALL, "8o--") X(SUMF, "**--") X(SUMI, "**--") X(SUMB, "**--") X(MOSTF, "**--") X(MOSTI, "**--") X(MOSTB, "**--") \
    X(LEASTF, "**--") X(LEASTI, "**--") X(LEASTB, "**--") X(WHICHF, "**--") X(WHICHI, "**--") X(WHICHB, "**--") \
    X(MATMULF, "***-") X(MATMULI, "***-")
#define FLOW(X) \
    X(JUMP, "----") X(UNLESS, "-8--") X(NEXT, "8---") X(STORE, "*o--") X(STOREREF, "*8--") X(TELLF, "*8--") X(TELLA, "*f--") \
    X(TELLB, "*o--") X(ANSWER, "-*8-") X(END, "----")
#define OPS(X) SCALARS(X) CELLS(X) ARRAYS(X) MOVES(X) CHOICES(X) FLOW(X)

#define NAME(name, signature) name,
enum { OPS(NAME) COUNT };
#undef NAME
#define SIGNATURE(name, signature) signature,
static const char *const signatures[COUNT] = {OPS(SIGNATURE)};
#undef SIGNATURE
#define TITLE(name, signature) #name,
static const char *const titles[COUNT] = {OPS(TITLE)};
#undef TITLE

#ifndef MACHINE_BUDGET /* of a step, in elements: some tenths of a second */
#define MACHINE_BUDGET 500000000
#endif

enum { MAGIC = 0x4d495254, VERSION = 1, WORDS = 10, HEAD = 10, PROGRAM = 7, ALIGN = 16 };
enum { FRAME, CONSTANT, MEMORY, SCENE };                             /* upper two bits of an operand */
enum { MOST_PROGRAMS = 256, MOST_BYTES = 1 << 28, MOST_ELEMENTS = 1 << 26, MOST_AXES = 8 };
static const int64_t INT_LIMIT = (int64_t)1 << 53, ROOM = (int64_t)1 << 62, BUDGET = MACHINE_BUDGET;

typedef struct {
    int32_t op, d, a, b, c; /* operands as offsets into the arena */
    int32_t n, m, k, x, y;
} Ins;

typedef struct {
    Ins *code;
    int64_t *price; /* of all instructions before one */
    int32_t count, memory, rule, reasons;
    int64_t base[4], size[4]; /* of the spaces, in the arena */
    int32_t param;            /* offset of the action that a rule is given, in the arena */
    /* what its last step said */
    int fault;
    int32_t stopped; /* the instruction that faulted */
    int64_t action, reason;
    float *vector;
} Program;

/* What stood where an instruction stores, before it stored for the first time in step `step`. */
typedef struct {
    int64_t step, at, bytes; /* in the arena */
    char *old;
} Kept;

struct Machine {
    char *arena;
    int64_t bytes;
    int32_t scene, actions, controls, memories, programs, publishes;
    int64_t *memory, *memory_size; /* offsets into the arena, bytes */
    char *before;                  /* room for all memories as they were before a step */
    Kept *kept;                    /* of every instruction that stores */
    int32_t *stored;               /* those that did in this step, in their order */
    int32_t stores, stored_now;
    int64_t step;
    Program *program;
    float *action, *fallback; /* float32[controls] */
    int64_t plain_fallback;
};

/* --- loading ----------------------------------------------------------------------------------------------------- */

typedef struct {
    Machine *machine;
    Program *program;
    const int32_t *words;
    int64_t left; /* words not read yet */
    const char *error;
    int32_t op;
} Loader;

static int32_t word(Loader *l) {
    if (l->left < 1) {
        l->error = "it ends too early";
        return 0;
    }
    l->left--;
    return *l->words++;
}

/* The offset in the arena of an operand of so many bytes. */
static int32_t place(Loader *l, uint32_t operand, int64_t bytes, int64_t align, int write) {
    int space = operand >> 30;
    int64_t at = operand & 0x3fffffff;
    const Program *p = l->program;
    if (bytes < 0 || bytes > MOST_BYTES || at % align || at + bytes > p->size[space]) {
        if (!l->error) l->error = "an operand outside its space";
        return 0;
    }
    if (write && space != write - 1) {
        if (!l->error) l->error = "an operand that must not be written";
        return 0;
    }
    return (int32_t)(p->base[space] + at);
}

static int64_t times(Loader *l, int64_t a, int64_t b) {
    if (a < 0 || b < 0 || a > MOST_ELEMENTS || b > MOST_ELEMENTS || a * b > MOST_ELEMENTS) {
        if (!l->error) l->error = "an array of an impossible size";
        return 0;
    }
    return a * b;
}

#define WRITES(space) ((space) + 1)
#define READ(operand, bytes, align) place(l, (uint32_t)(operand), bytes, align, 0)
#define WRITE(operand, bytes, align) place(l, (uint32_t)(operand), bytes, align, WRITES(FRAME))

/* How far a strided copy reaches: `b` are sides and steps in the constants, which nothing writes. */
static void check_move(Loader *l, Ins *i, int size) {
    int32_t axes = i->k;
    if (axes < 1 || axes > MOST_AXES) {
        l->error = "an array of too many axes";
        return;
    }
    if (((uint32_t)i->b >> 30) != CONSTANT) {
        l->error = "sides that are no constants";
        return;
    }
    int32_t at = READ(i->b, 8 * (int64_t)axes, 4);
    if (l->error) return;
    const i32 *sides = (const i32 *)(l->machine->arena + at);
    int64_t count = 1, reach = 0;
    for (int32_t j = 0; j < axes && !l->error; j++) {
        if (sides[j] < 1 || sides[axes + j] < 0) l->error = "a side below one";
        count = times(l, count, sides[j]);
        reach += ((int64_t)sides[j] - 1) * sides[axes + j];
    }
    if (i->x) { /* an index chooses among y places, x elements apart */
        if (i->x < 0 || i->y < 1) l->error = "a choice among nothing";
        reach += ((int64_t)i->y - 1) * i->x;
        i->c = READ(i->c, 8, 8);
    }
    if (reach >= i->n) l->error = "a copy from outside of an array";
    i->d = WRITE(i->d, count * size, size);
    i->a = READ(i->a, i->n * (int64_t)size, size);
    i->b = at;
}

static void check_special(Loader *l, Ins *i) {
    int64_t n = i->n, m = i->m, k = i->k, cells;
    switch (i->op) {
    case THINGF:
    case THINGB: /* slot a of n, m values apart */
        if (m < 1 || n < 1 || ((uint32_t)i->b >> 30) != SCENE) l->error = "things that are nowhere";
        i->b = READ(i->b, 4 * (times(l, n - 1, m) + 1), 4);
        break;
    case MOVE4: check_move(l, i, 4); break;
    case MOVE1: check_move(l, i, 1); break;
    case PUT4:
    case PUT1: { /* row b of k, m elements each */
        int size = i->op == PUT4 ? 4 : 1;
        if (m < 1 || times(l, m, k) != n) l->error = "rows that do not fill an array";
        i->a = READ(i->a, n * size, size);
        i->c = READ(i->c, m * size, size);
        break;
    }
    case SHIFT4:
    case SHIFT1: {
        int size = i->op == SHIFT4 ? 4 : 1;
        if (m < 1 || m > n) l->error = "a row longer than its array";
        i->c = READ(i->c, m * size, size);
        break;
    }
    case GATHER4: case GATHER1: case GATHERREF4: case GATHERREF1: { /* n of k rows, m elements each */
        int size = i->op == GATHER4 || i->op == GATHERREF4 ? 4 : 1;
        cells = times(l, n, m);
        if (m < 1 || k < 1) l->error = "rows of nothing";
        i->d = WRITE(i->d, cells * size, size);
        cells = times(l, k, m) * size;
        if (i->op == GATHER4 || i->op == GATHER1) i->a = READ(i->a, cells, size);
        i->b = i->x ? READ(i->b, 8, 8) : READ(i->b, 4 * n, 4); /* x: the indices lie where a scalar says */
        break;
    }
    case REF: /* where n bytes lie; who uses it looks whether it may */
        i->a = READ(i->a, n, 1);
        break;
    case PICK: /* where one of k rows of m bytes lies */
    case PICKREF:
        if (k < 1 || m < 1) l->error = "a choice among nothing";
        cells = times(l, k, m);
        if (i->op == PICK) i->a = READ(i->a, cells, 1);
        break;
    case SCATTER:
        i->d = WRITE(i->d, times(l, k, 1) * 4, 4);
        i->c = WRITE(i->c, times(l, k, 1) * 8, 8);
        break;
    case TOPF:
    case TOPI:
        if (k < 1 || k > n) l->error = "more of the largest than there are";
        i->d = WRITE(i->d, k * 4, 4);
        i->c = WRITE(i->c, times(l, n, 2) * 4, 4);
        break;
    case SUMF: case SUMI: case SUMB: case MOSTF: case MOSTI: case MOSTB: case LEASTF: case LEASTI: case LEASTB:
    case WHICHF: case WHICHI: case WHICHB: { /* [n, m, k] along m */
        int bytes = i->op == SUMB || i->op == MOSTB || i->op == LEASTB || i->op == WHICHB;
        int narrow = i->op == MOSTB || i->op == LEASTB;
        if (n < 1 || m < 1 || k < 1) l->error = "a sum of nothing";
        cells = times(l, n, k);
        i->d = WRITE(i->d, cells * (narrow ? 1 : 4), narrow ? 1 : 4);
        i->a = READ(i->a, times(l, cells, m) * (bytes ? 1 : 4), bytes ? 1 : 4);
        break;
    }
    case MATMULF:
    case MATMULI: /* [n, m] times [m, k] */
        if (n < 1 || m < 1 || k < 1) l->error = "a product of nothing";
        i->d = WRITE(i->d, times(l, n, k) * 4, 4);
        i->a = READ(i->a, times(l, n, m) * 4, 4);
        i->b = READ(i->b, times(l, m, k) * 4, 4);
        break;
    case STORE:
    case STOREREF:
        i->d = place(l, (uint32_t)i->d, n, 1, WRITES(MEMORY));
        i->x = l->machine->stores++;
        break;
    case TELLF:
    case TELLA:
    case TELLB: /* into the scene, m values apart: only a tracker may */
        if (!l->machine->publishes) l->error = "a scene that must not be written";
        if (i->op == TELLF) i->n = 1;
        if (m < 1 || i->n < 1) l->error = "values that go nowhere";
        i->d = place(l, (uint32_t)i->d, 4 * (times(l, i->n - 1, m) + 1), 4, WRITES(SCENE));
        break;
    case ANSWER: {
        int64_t controls = l->machine->controls;
        i->a = controls ? READ(i->a, 4 * controls, 4) : READ(i->a, 8, 8);
        break;
    }
    }
}

/* One instruction, its operands checked and made offsets into the arena. */
static void check(Loader *l, Ins *i, int32_t count) {
    if (i->op < 0 || i->op >= COUNT) {
        l->error = "an instruction that there is not";
        return;
    }
    l->op = i->op;
    const char *signature = signatures[i->op];
    int32_t *operands[4] = {&i->d, &i->a, &i->b, &i->c};
    if (i->n < 0 || i->n > MOST_ELEMENTS) {
        l->error = "an array of an impossible size";
        return;
    }
    if (signature[0] == 'f' || signature[0] == 'o' || signature[1] == 'f' || signature[1] == 'o')
        if (i->n < 1) l->error = "an array of nothing";
    for (int j = 0; j < 4 && !l->error; j++) {
        int64_t one = (i->m >> j) & 1 && (signature[j] == 'v' || signature[j] == 'p');
        int64_t many = one ? 1 : i->n, bytes = 0, align = 1;
        switch (signature[j]) {
        case '8': bytes = align = 8; break;
        case '4': bytes = align = 4; break;
        case '1': bytes = 1; break;
        case 'f': case 'v': bytes = 4 * many, align = 4; break;
        case 'o': case 'p': bytes = many; break;
        default: continue;
        }
        *operands[j] = place(l, (uint32_t)*operands[j], bytes, align, j ? 0 : WRITES(FRAME));
    }
    if (l->error) return;
    check_special(l, i);
    if (i->op == JUMP || i->op == UNLESS || i->op == NEXT)
        if (i->k < 0 || i->k >= count) l->error = "a jump to nowhere";
}

/* What an instruction costs at most, in elements; itself it is worth eight. */
static int64_t price(const Ins *i) {
    int64_t n = i->n;
    if (i->op >= SUMF && i->op <= MATMULI) n *= (int64_t)i->m * i->k;
    else if (i->op >= GATHERREF4 && i->op <= GATHER1) n *= i->m + (int64_t)1;
    else if (i->op == TOPF || i->op == TOPI) n *= 40;
    else if (i->op == SCATTER) n += i->k;
    return n + 8;
}

static int64_t rounded(int64_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }

void machine_close(Machine *m) {
    if (!m) return;
    for (int32_t j = 0; m->program && j < m->programs; j++) {
        free(m->program[j].code);
        free(m->program[j].price);
        free(m->program[j].vector);
    }
    free(m->program);
    free(m->memory);
    free(m->memory_size);
    for (int32_t j = 0; m->kept && j < m->stores; j++) free(m->kept[j].old);
    free(m->kept);
    free(m->stored);
    free(m->before);
    free(m->action);
    free(m->fallback);
    free(m->arena);
    free(m);
}

/* Room for what the instructions that store will replace. */
static void keep_room(Loader *l) {
    Machine *m = l->machine;
    int64_t total = 0;
    m->kept = calloc((size_t)m->stores + 1, sizeof(Kept));
    m->stored = calloc((size_t)m->stores + 1, sizeof(int32_t));
    if (!m->kept || !m->stored) l->error = "there is too little memory";
    for (int32_t j = 0; j < m->programs && !l->error; j++)
        for (int32_t c = 0; c < m->program[j].count && !l->error; c++) {
            const Ins *i = &m->program[j].code[c];
            if (i->op != STORE && i->op != STOREREF) continue;
            m->kept[i->x] = (Kept){.at = i->d, .bytes = i->n, .old = malloc((size_t)i->n + 1)};
            if ((total += i->n) > MOST_BYTES) l->error = "it needs too much memory";
            if (!m->kept[i->x].old) l->error = "there is too little memory";
        }
}

/* HEAD words: magic, version, words, scene, actions, controls, memories, programs, publishes, 0; the bytes of each
   memory; the fallback (two words, or a float for each control); of each program PROGRAM words (memory, rule, reasons,
   bytes of constants, bytes of frame, instructions, where in the frame the action lies); the constants; the code. */
static void build(Loader *l, int64_t words) {
    Machine *m = l->machine;
    if (word(l) != MAGIC || word(l) != VERSION || word(l) != words) l->error = "it is no program of this version";
    if (l->error) return;
    m->scene = word(l), m->actions = word(l), m->controls = word(l), m->memories = word(l), m->programs = word(l);
    m->publishes = word(l), word(l);
    if (l->error || m->scene < 0 || m->scene > 1 << 20 || m->memories < 1 || m->memories > MOST_PROGRAMS || m->programs < 1
        || m->programs > MOST_PROGRAMS || m->controls < 0 || m->controls > 1 << 16 || m->actions < 0
        || !m->controls == !m->actions || l->left < m->memories + m->programs * PROGRAM + m->controls + 2) {
        l->error = "its head is wrong";
        return;
    }
    const int32_t *sizes = l->words;
    const int32_t *heads = sizes + m->memories + (m->controls ? m->controls : 2);
    int64_t total = rounded(4 * (int64_t)m->scene);
    for (int32_t j = 0; j < m->memories; j++) {
        if (sizes[j] < 0 || sizes[j] > MOST_BYTES) l->error = "a memory of an impossible size";
        total += rounded(sizes[j]);
    }
    for (int32_t j = 0; j < m->programs && !l->error; j++) {
        const int32_t *h = heads + j * PROGRAM;
        if (h[0] < 0 || h[0] >= m->memories || h[1] < 0 || h[1] > 1 || h[2] < 0 || h[3] < 0 || h[3] % 4
            || h[3] > MOST_BYTES || h[4] < 0 || h[4] > MOST_BYTES || h[5] < 1 || h[5] > 1 << 24 || h[6] < 0)
            l->error = "the head of a program is wrong";
        total += rounded(h[3]) + rounded(h[4]);
    }
    if (!l->error && total > MOST_BYTES) l->error = "it needs too much memory";
    if (l->error) return;
    m->bytes = total;
    m->arena = calloc(1, total + ALIGN);
    m->memory = calloc(m->memories, sizeof(int64_t));
    m->memory_size = calloc(m->memories, sizeof(int64_t));
    m->program = calloc(m->programs, sizeof(Program));
    m->action = calloc(m->controls + 1, sizeof(float));
    m->fallback = calloc(m->controls + 1, sizeof(float));
    if (!m->arena || !m->memory || !m->memory_size || !m->program || !m->action || !m->fallback) {
        l->error = "there is too little memory";
        return;
    }
    int64_t at = rounded(4 * (int64_t)m->scene);
    for (int32_t j = 0; j < m->memories; j++) {
        m->memory[j] = at, m->memory_size[j] = word(l);
        at += rounded(m->memory_size[j]);
    }
    m->before = calloc(1, (size_t)(at - m->memory[0]) + ALIGN);
    if (!m->before) {
        l->error = "there is too little memory";
        return;
    }
    if (m->controls) {
        memcpy(m->fallback, l->words, 4 * (size_t)m->controls);
        l->words += m->controls, l->left -= m->controls;
    } else {
        memcpy(&m->plain_fallback, l->words, 8);
        l->words += 2, l->left -= 2;
        if (m->plain_fallback < 0 || m->plain_fallback >= m->actions) l->error = "a fallback that is no action";
    }
    l->words += m->programs * PROGRAM, l->left -= m->programs * PROGRAM;
    for (int32_t j = 0; j < m->programs && !l->error; j++) {
        const int32_t *h = heads + j * PROGRAM;
        Program *p = l->program = &m->program[j];
        p->memory = h[0], p->rule = h[1], p->reasons = h[2], p->count = h[5];
        p->base[CONSTANT] = at, p->size[CONSTANT] = h[3], at += rounded(h[3]);
        p->base[FRAME] = at, p->size[FRAME] = h[4], at += rounded(h[4]);
        p->base[MEMORY] = m->memory[h[0]], p->size[MEMORY] = m->memory_size[h[0]];
        p->base[SCENE] = 0, p->size[SCENE] = 4 * (int64_t)m->scene;
        if (l->left < h[3] / 4 + (int64_t)WORDS * h[5]) {
            l->error = "it ends too early";
            return;
        }
        memcpy(m->arena + p->base[CONSTANT], l->words, h[3]);
        l->words += h[3] / 4, l->left -= h[3] / 4;
        p->param = WRITE(h[6], p->rule ? (m->controls ? 4 * (int64_t)m->controls : 8) : 0, p->rule ? 8 : 1);
        p->vector = calloc(m->controls + 1, sizeof(float));
        p->code = malloc(sizeof(Ins) * (size_t)p->count);
        p->price = calloc(p->count + 1, sizeof(int64_t));
        if (!p->code || !p->vector || !p->price) l->error = "there is too little memory";
        for (int32_t i = 0; i < p->count && !l->error; i++) {
            memcpy(&p->code[i], l->words, sizeof(Ins));
            l->words += WORDS, l->left -= WORDS;
            check(l, &p->code[i], p->count);
            if (!l->error) p->price[i + 1] = p->price[i] + price(&p->code[i]);
        }
        if (!l->error && p->code[p->count - 1].op != END) l->error = "a program without an end";
        if (!l->error && p->price[p->count] > BUDGET) l->error = "a program that works for seconds";
    }
    if (!l->error && l->left) l->error = "there is more than its head says";
    if (!l->error) keep_room(l);
}

/* --- numbers ----------------------------------------------------------------------------------------------------- */

static double floor_div(double a, double b) { /* as Python has it */
    double rest = fmod(a, b), way = (a - rest) / b;
    if (rest != 0 && (b < 0) != (rest < 0)) way -= 1.0;
    if (way == 0) return copysign(0.0, a / b);
    double low = floor(way);
    return way - low > 0.5 ? low + 1.0 : low;
}

static double modulo(double a, double b) {
    double rest = fmod(a, b);
    if (rest == 0) return copysign(0.0, b);
    return (b < 0) != (rest < 0) ? rest + b : rest;
}

static float floor_div_single(float a, float b) { /* as numpy has it */
    if (b == 0) return a / b;
    float rest = fmodf(a, b), way = (a - rest) / b;
    if (rest != 0 && (b < 0) != (rest < 0)) way -= 1.0f;
    if (way == 0) return copysignf(0.0f, a / b);
    float low = floorf(way);
    return way - low > 0.5f ? low + 1.0f : low;
}

static float modulo_single(float a, float b) {
    if (b == 0) return fmodf(a, b);
    float rest = fmodf(a, b);
    if (rest == 0) return copysignf(0.0f, b);
    return (b < 0) != (rest < 0) ? rest + b : rest;
}

static int32_t whole_div(int32_t a, int32_t b) {
    if (b == -1) return (int32_t)(0u - (uint32_t)a);
    int32_t q = a / b;
    return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

static int32_t whole_mod(int32_t a, int32_t b) {
    if (b == -1) return 0;
    int32_t rest = a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

/* Does every element exist as a number? */
static int finite_all(const f32 *a, int64_t n) {
    uint32_t most = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, a + i, 4);
        bits &= 0x7fffffffu;
        most = bits > most ? bits : most;
    }
    return most < 0x7f800000u;
}

static int any_nan(const f32 *a, int64_t n) {
    int found = 0;
    for (int64_t i = 0; i < n; i++) found |= a[i] != a[i];
    return found;
}

/* A sum of n terms `step` apart; 0: NaN came of numbers, a fault. */
static int sum(const f32 *a, int64_t n, int64_t step, f32 *made) {
    float found = a[0];
    for (int64_t i = 1; i < n; i++) found += a[i * step];
    if (!isfinite(found)) {
        double wide = a[0];
        int had = a[0] != a[0];
        for (int64_t i = 1; i < n; i++) wide += a[i * step], had |= a[i * step] != a[i * step];
        if (wide != wide && !had) return 0;
        found = (float)wide;
    }
    *made = found;
    return 1;
}

/* [n, m] times [m, k]: along a row of the result at once, every element in the order of its terms. */
static int product(const f32 *a, const f32 *b, f32 *d, int64_t n, int64_t m, int64_t k) {
    for (int64_t i = 0; i < n; i++) {
        f32 *row = d + i * k;
        const f32 *left = a + i * m;
        if (k == 1) {
            float found = left[0] * b[0];
            for (int64_t j = 1; j < m; j++) found += left[j] * b[j];
            row[0] = found;
            continue;
        }
        for (int64_t c = 0; c < k; c++) row[c] = left[0] * b[c];
        for (int64_t j = 1; j < m; j++) {
            const float one = left[j], *right = b + j * k;
            for (int64_t c = 0; c < k; c++) row[c] += one * right[c];
        }
    }
    if (finite_all(d, n * k)) return 1;
    int had = any_nan(a, n * m) || any_nan(b, m * k);
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < k; c++) {
            if (isfinite(d[i * k + c])) continue;
            double wide = (double)a[i * m] * b[c];
            for (int64_t j = 1; j < m; j++) wide += (double)a[i * m + j] * b[j * k + c];
            if (wide != wide && !had) return 0;
            d[i * k + c] = (float)wide;
        }
    return 1;
}

/* Indices of the k largest keys, largest first, the first of equal ones first; `work` holds 2 n. */
#define TOP(name, type, MORE) \
    static void name(const type *a, int32_t n, int32_t k, i32 *d, i32 *work) { \
        if (k <= 32) { \
            int32_t have = 0; \
            for (int32_t i = 0; i < n; i++) { \
                if (have == k && !MORE(a[i], a[d[k - 1]])) continue; \
                int32_t j = have < k ? have++ : k - 1; \
                for (; j > 0 && MORE(a[i], a[d[j - 1]]); j--) d[j] = d[j - 1]; \
                d[j] = i; \
            } \
            return; \
        } \
        i32 *from = work, *to = work + n; \
        for (int32_t i = 0; i < n; i++) from[i] = i; \
        for (int64_t width = 1; width < n; width *= 2) { \
            for (int64_t low = 0; low < n; low += 2 * width) { \
                int64_t middle = low + width < n ? low + width : n, high = low + 2 * width < n ? low + 2 * width : n; \
                int64_t x = low, y = middle; \
                for (int64_t z = low; z < high; z++) \
                    to[z] = y >= high || (x < middle && !MORE(a[from[y]], a[from[x]])) ? from[x++] : from[y++]; \
            } \
            i32 *other = from; \
            from = to, to = other; \
        } \
        memcpy(d, from, 4 * (size_t)k); \
    }
#define MORE_FLOAT(x, y) ((x) > (y))
#define MORE_INT(x, y) ((int32_t)(0u - (uint32_t)(x)) < (int32_t)(0u - (uint32_t)(y))) /* as numpy sorts: by the negative */
TOP(top_floats, f32, MORE_FLOAT)
TOP(top_ints, i32, MORE_INT)

/* One row of a strided copy of 32-bit elements. */
static inline void spread(i32 *d, const i32 *a, int64_t n, int64_t step) {
    if (step == 1) {
        for (int64_t i = 0; i < n; i++) d[i] = a[i];
    } else if (step == 0) {
        const i32 one = *a;
        for (int64_t i = 0; i < n; i++) d[i] = one;
    } else {
        for (int64_t i = 0; i < n; i++) d[i] = a[i * step];
    }
}

/* A copy whose source is strided. */
static void strided(char *d, const char *a, const i32 *sides, int32_t axes, int size) {
    const i32 *steps = sides + axes;
    const int64_t inner = sides[axes - 1], step = steps[axes - 1];
    i32 at[MOST_AXES] = {0};
    int64_t from = 0;
    for (;;) {
        if (size == 4) spread((i32 *)d, (const i32 *)a + from, inner, step);
        else if (step == 1) memmove(d, a + from, (size_t)inner);
        else for (int64_t i = 0; i < inner; i++) d[i] = a[from + i * step];
        d += inner * size;
        int32_t axis = axes - 2;
        for (; axis >= 0; axis--) {
            from += steps[axis];
            if (++at[axis] < sides[axis]) break;
            from -= (int64_t)steps[axis] * sides[axis];
            at[axis] = 0;
        }
        if (axis < 0) return;
    }
}

/* Floor without a call; what has no fraction left is its own. */
static inline float floor_single(float x) {
    if (!(fabsf(x) < 8388608.0f)) return x;
    const float whole = (float)(int32_t)x;
    return whole - (float)(whole > x);
}

/* Floor of a quotient of two int32. */
static inline double floor_whole(double x) {
    const double whole = (double)(int32_t)x;
    return whole - (double)(whole > x);
}

/* May a program read so many bytes there? Of references, which are numbers that it computes. */
static int readable(const Program *p, int64_t at, int64_t bytes, int64_t align) {
    if (at % align) return 0;
    for (int j = 0; j < 4; j++)
        if (at >= p->base[j] && at <= p->base[j] + p->size[j] && bytes <= p->base[j] + p->size[j] - at) return 1;
    return 0;
}

/* --- running ----------------------------------------------------------------------------------------------------- */

#define F(x) (*(f64 *)(arena + i->x))
#define I(x) (*(i64 *)(arena + i->x))
#define CF(x) (*(f32 *)(arena + i->x))
#define CI(x) (*(i32 *)(arena + i->x))
#define CB(x) (*(u8 *)(arena + i->x))
#define PF(x) ((f32 *)(arena + i->x))
#define PI(x) ((i32 *)(arena + i->x))
#define PB(x) ((u8 *)(arena + i->x))
#define FAULT goto fault

/* Element by element; an operand may be one cell for all (bits 1 and 2 of m). */
#define PAIRS(out, in, POINTER_D, POINTER, expression) \
    { \
        out *d = POINTER_D(d); \
        const in *a = POINTER(a), *b = POINTER(b); \
        const int32_t n = i->n; \
        if (!(i->m & 6)) { \
            for (int32_t j = 0; j < n; j++) { const in x = a[j], y = b[j]; d[j] = expression; } \
        } else if (!(i->m & 2)) { \
            const in y = *b; \
            for (int32_t j = 0; j < n; j++) { const in x = a[j]; d[j] = expression; } \
        } else if (!(i->m & 4)) { \
            const in x = *a; \
            for (int32_t j = 0; j < n; j++) { const in y = b[j]; d[j] = expression; } \
        } else { \
            const in x = *a, y = *b; \
            for (int32_t j = 0; j < n; j++) d[j] = expression; \
        } \
        break; \
    }
#define EACH(out, in, POINTER_D, POINTER, expression) \
    { \
        out *d = POINTER_D(d); \
        const in *a = POINTER(a); \
        for (int32_t j = 0; j < i->n; j++) { const in x = a[j]; d[j] = expression; } \
        break; \
    }
/* Against a scalar that may be wider than the elements. */
#define WIDE(operator) \
    { \
        u8 *d = PB(d); \
        const i32 *a = PI(a); \
        const int64_t y = I(b); \
        for (int32_t j = 0; j < i->n; j++) d[j] = a[j] operator y; \
        break; \
    }
#define X_AT(j) (PF(a)[i->m & 2 ? 0 : (j)])
#define Y_AT(j) (PF(b)[i->m & 4 ? 0 : (j)])
/* NaN out of numbers is a fault, and what else `zero` says. */
#define EXPLAINED(zero) \
    { \
        const f32 *d = PF(d); \
        if (!finite_all(d, i->n)) \
            for (int32_t j = 0; j < i->n; j++) { \
                const float x = X_AT(j), y = Y_AT(j); \
                if ((zero) || (d[j] != d[j] && x == x && y == y)) FAULT; \
            } \
        break; \
    }
#define PAIRS_CHECKED(expression, zero) \
    { \
        do PAIRS(f32, f32, PF, PF, expression) while (0); \
        EXPLAINED(zero) \
    }
#define BEST(type, POINTER, better) \
    { \
        const type *a = POINTER(a); \
        int32_t best = 0; \
        for (int32_t j = 1; j < i->n; j++) if (a[j] better a[best]) best = j; \
        I(d) = best; \
        break; \
    }
#define EXTREME(type, POINTER, better) \
    { \
        const type *a = POINTER(a); \
        type best = a[0]; \
        for (int32_t j = 1; j < i->n; j++) best = a[j] better best ? a[j] : best; \
        I(d) = best; \
        break; \
    }
/* Along the middle axis of [n, m, k]. */
#define OVER(type, POINTER, out, POINTER_D, start, step) \
    { \
        const int64_t m = i->m, k = i->k; \
        for (int64_t r = 0; r < i->n; r++) \
            for (int64_t c = 0; c < k; c++) { \
                const type *a = POINTER(a) + r * m * k + c; \
                out found = start; \
                for (int64_t j = 1; j < m; j++) { const type y = a[j * k]; step } \
                POINTER_D(d)[r * k + c] = found; \
            } \
        break; \
    }
#define WHICH(type, POINTER) \
    { \
        const int64_t m = i->m, k = i->k; \
        for (int64_t r = 0; r < i->n; r++) \
            for (int64_t c = 0; c < k; c++) { \
                const type *a = POINTER(a) + r * m * k + c; \
                int32_t best = 0; \
                for (int64_t j = 1; j < m; j++) if (a[j * k] > a[best * k]) best = (int32_t)j; \
                PI(d)[r * k + c] = best; \
            } \
        break; \
    }
#define ROUNDED(expression) \
    { \
        const double made = expression; \
        if (!(made >= -(double)INT_LIMIT && made <= (double)INT_LIMIT)) FAULT; \
        I(d) = (int64_t)made; \
        break; \
    }
#define WRAP(x) ((int32_t)(x))
#define U(x) ((uint32_t)(x))

/* An instruction stores: what stood there is kept. */
static inline void keep(Machine *m, const Ins *i) {
    Kept *k = &m->kept[i->x];
    if (k->step == m->step) return;
    k->step = m->step;
    m->stored[m->stored_now++] = i->x;
    memcpy(k->old, m->arena + k->at, (size_t)k->bytes);
}

/* One step of a program; 0: it faulted. */
static int run(Machine *machine, Program *p) {
    char *const arena = machine->arena;
    const Ins *const code = p->code, *i = code;
    const int64_t *const price = p->price;
    int64_t budget = BUDGET;
    for (;; i++) {
        switch (i->op) {
        /* scalars: float64, int64 within 2**53, bool as 0 and 1 */
        case ADD: F(d) = F(a) + F(b); break;
        case SUB: F(d) = F(a) - F(b); break;
        case MUL: F(d) = F(a) * F(b); break;
        case DIV: if (F(b) == 0) FAULT; F(d) = F(a) / F(b); break;
        case FLOORDIV: if (F(b) == 0) FAULT; F(d) = floor_div(F(a), F(b)); break;
        case MOD: if (F(b) == 0) FAULT; F(d) = modulo(F(a), F(b)); break;
        case POW: {
            const double x = F(a), y = F(b), made = pow(x, y);
            if (!isfinite(made) && isfinite(x) && isfinite(y)) FAULT;
            F(d) = made;
            break;
        }
        case NEG: F(d) = -F(a); break;
        case ABS: F(d) = fabs(F(a)); break;
        case SIGN: F(d) = (double)((F(a) > 0) - (F(a) < 0)); break;
        case MIN: F(d) = F(b) < F(a) ? F(b) : F(a); break;
        case MAX: F(d) = F(b) > F(a) ? F(b) : F(a); break;
        case CLIP: F(d) = F(a) < F(b) ? F(b) : F(a) > F(c) ? F(c) : F(a); break;
        case SQRT: if (F(a) < 0) FAULT; F(d) = sqrt(F(a)); break;
        case LT: I(d) = F(a) < F(b); break;
        case LE: I(d) = F(a) <= F(b); break;
        case EQ: I(d) = F(a) == F(b); break;
        case NE: I(d) = F(a) != F(b); break;
        case FLOOR: ROUNDED(floor(F(a)))
        case CEIL: ROUNDED(ceil(F(a)))
        case ROUND: ROUNDED(rint(F(a)))
        case TRUNC: ROUNDED(trunc(F(a)))
        case TOFLOAT: F(d) = (double)I(a); break;
        case IADD: case ISUB: { /* within twice the language's range by proof; a liar's sum wraps */
            const uint64_t x = (uint64_t)I(a), y = (uint64_t)I(b);
            I(d) = (int64_t)(i->op == IADD ? x + y : x - y);
            break;
        }
        case IMUL:
            if (fabs((double)I(a) * (double)I(b)) > (double)ROOM) FAULT;
            I(d) = (int64_t)((uint64_t)I(a) * (uint64_t)I(b));
            break;
        case IFLOORDIV: case IMOD: {
            const int64_t x = I(a), y = I(b);
            if (y == 0) FAULT;
            if (y == -1) {
                I(d) = i->op == IMOD ? 0 : (int64_t)(0 - (uint64_t)x);
                break;
            }
            const int64_t rest = x % y, other = rest != 0 && (rest < 0) != (y < 0);
            I(d) = i->op == IMOD ? rest + (other ? y : 0) : x / y - other;
            break;
        }
        case INEG: I(d) = (int64_t)(0 - (uint64_t)I(a)); break;
        case IABS: I(d) = I(a) < 0 ? (int64_t)(0 - (uint64_t)I(a)) : I(a); break;
        case ISIGN: I(d) = (I(a) > 0) - (I(a) < 0); break;
        case IMIN: I(d) = I(b) < I(a) ? I(b) : I(a); break;
        case IMAX: I(d) = I(b) > I(a) ? I(b) : I(a); break;
        case ICLIP: I(d) = I(a) < I(b) ? I(b) : I(a) > I(c) ? I(c) : I(a); break;
        case ILT: I(d) = I(a) < I(b); break;
        case ILE: I(d) = I(a) <= I(b); break;
        case IEQ: I(d) = I(a) == I(b); break;
        case INE: I(d) = I(a) != I(b); break;
        case BOUND: if (I(a) < -INT_LIMIT || I(a) > INT_LIMIT) FAULT; I(d) = I(a); break;
        case NOT: I(d) = !I(a); break;
        case AND: I(d) = I(a) & I(b); break;
        case OR: I(d) = I(a) | I(b); break;
        case SET: I(d) = I(a); break;
        /* between scalars and elements */
        case CELLF: CF(d) = (float)F(a); break;
        case CELLI: if (I(a) < INT32_MIN || I(a) > INT32_MAX) FAULT; CI(d) = (int32_t)I(a); break;
        case WRAPI: CI(d) = (int32_t)(uint32_t)(uint64_t)I(a); break;
        case CELLB: CB(d) = I(a) != 0; break;
        case WIDEF: F(d) = (double)CF(a); break;
        case WIDEI: I(d) = CI(a); break;
        case WIDEB: I(d) = CB(a); break;
        case SEENF: I(d) = CF(a) > 0.5f; break;
        case FLAT: if (I(b) < 0 || I(b) >= i->n) FAULT; I(d) = (int64_t)((uint64_t)I(a) * (uint64_t)i->n + (uint64_t)I(b)); break;
        case ELEMF: if (I(b) < 0 || I(b) >= i->n) FAULT; F(d) = (double)PF(a)[I(b)]; break;
        case ELEMI: if (I(b) < 0 || I(b) >= i->n) FAULT; I(d) = PI(a)[I(b)]; break;
        case ELEMB: if (I(b) < 0 || I(b) >= i->n) FAULT; I(d) = PB(a)[I(b)]; break;
        case THINGF: if (I(a) < 0 || I(a) >= i->n) FAULT; F(d) = (double)PF(b)[I(a) * i->m]; break;
        case THINGB: if (I(a) < 0 || I(a) >= i->n) FAULT; I(d) = PF(b)[I(a) * i->m] > 0.5f; break;
        case GRID: EACH(u8, f32, PB, PF, x > 0.5f)
        /* arrays: float32, int32 that wraps, bool */
        case FADD: PAIRS_CHECKED(x + y, 0)
        case FSUB: PAIRS_CHECKED(x - y, 0)
        case FMUL: PAIRS_CHECKED(x * y, 0)
        case FDIV: PAIRS_CHECKED(x / y, y == 0 && isfinite(x))
        case FFLOORDIV: PAIRS_CHECKED(floor_div_single(x, y), y == 0 ? isfinite(x) : isinf(d[j]))
        case FMOD: PAIRS_CHECKED(modulo_single(x, y), y == 0 && isfinite(x))
        case FPOW:
            PAIRS_CHECKED((float)pow((double)x, (double)y), (x == 0 && y < 0) || (i->k && y == 0.5f && x < 0))
        case FMIN: PAIRS(f32, f32, PF, PF, x < y || x != x ? x : y)
        case FMAX: PAIRS(f32, f32, PF, PF, x > y || x != x ? x : y)
        case FLT: PAIRS(u8, f32, PB, PF, x < y)
        case FLE: PAIRS(u8, f32, PB, PF, x <= y)
        case FEQ: PAIRS(u8, f32, PB, PF, x == y)
        case FNE: PAIRS(u8, f32, PB, PF, x != y)
        case FNEG: EACH(f32, f32, PF, PF, -x)
        case FABS: EACH(f32, f32, PF, PF, fabsf(x))
        case FSIGN: EACH(f32, f32, PF, PF, x != x ? x : (float)((x > 0) - (x < 0)))
        case FFLOOR: EACH(f32, f32, PF, PF, floor_single(x))
        case FEXP: EACH(f32, f32, PF, PF, (float)exp((double)x))
        case NADD: PAIRS(i32, i32, PI, PI, WRAP(U(x) + U(y)))
        case NSUB: PAIRS(i32, i32, PI, PI, WRAP(U(x) - U(y)))
        case NMUL: PAIRS(i32, i32, PI, PI, WRAP(U(x) * U(y)))
        case NFLOORDIV: case NMOD: {
            const i32 *a = PI(a), *b = PI(b);
            const int32_t n = i->n, one = i->m & 2, same = i->m & 4;
            if (same && !one && b[0] != -1 && b[0] != 0) { /* exact: 31 bits by 31 bits */
                const double by = b[0];
                const int32_t y = b[0];
                i32 *d = PI(d);
                if (i->op == NMOD)
                    for (int32_t j = 0; j < n; j++) d[j] = WRAP(U(a[j]) - U((int32_t)floor_whole(a[j] / by)) * U(y));
                else
                    for (int32_t j = 0; j < n; j++) d[j] = (int32_t)floor_whole(a[j] / by);
                break;
            }
            for (int32_t j = 0; j < n; j++) {
                const int32_t x = a[one ? 0 : j], y = b[same ? 0 : j]; /* d may lie over b */
                if (y == 0) FAULT;
                PI(d)[j] = i->op == NMOD ? whole_mod(x, y) : whole_div(x, y);
            }
            break;
        }
        case NMIN: PAIRS(i32, i32, PI, PI, x < y ? x : y)
        case NMAX: PAIRS(i32, i32, PI, PI, x > y ? x : y)
        case NLT: PAIRS(u8, i32, PB, PI, x < y)
        case NLE: PAIRS(u8, i32, PB, PI, x <= y)
        case NEQ: PAIRS(u8, i32, PB, PI, x == y)
        case NNE: PAIRS(u8, i32, PB, PI, x != y)
        case WLT: WIDE(<)
        case WLE: WIDE(<=)
        case WGT: WIDE(>)
        case WGE: WIDE(>=)
        case WEQ: WIDE(==)
        case WNE: WIDE(!=)
        case NNEG: EACH(i32, i32, PI, PI, WRAP(0u - U(x)))
        case NABS: EACH(i32, i32, PI, PI, x < 0 ? WRAP(0u - U(x)) : x)
        case NSIGN: EACH(i32, i32, PI, PI, (x > 0) - (x < 0))
        case BAND: PAIRS(u8, u8, PB, PB, x & y)
        case BOR: PAIRS(u8, u8, PB, PB, x | y)
        case BEQ: PAIRS(u8, u8, PB, PB, x == y)
        case BNE: PAIRS(u8, u8, PB, PB, x != y)
        case BNOT: EACH(u8, u8, PB, PB, !x)
        case ITOF: EACH(f32, i32, PF, PI, (float)x)
        case BTOF: EACH(f32, u8, PF, PB, (float)x)
        case FTOI: {
            const f32 *a = PF(a);
            i32 *d = PI(d);
            for (int32_t j = 0; j < i->n; j++) {
                if (!(fabsf(a[j]) < 2147483648.0f)) FAULT;
                d[j] = (int32_t)a[j];
            }
            break;
        }
        case BTOI: EACH(i32, u8, PI, PB, x)
        case WHERE4: {
            const u8 *c = PB(c);
            const i32 *a = PI(a), *b = PI(b), n = i->n, p1 = !(i->m & 2), p2 = !(i->m & 4), p3 = !(i->m & 8);
            i32 *d = PI(d);
            if (p1 && p2 && p3) for (int32_t j = 0; j < n; j++) d[j] = c[j] ? a[j] : b[j];
            else for (int32_t j = 0; j < n; j++) d[j] = c[p3 * j] ? a[p1 * j] : b[p2 * j];
            break;
        }
        case WHERE1: {
            const u8 *c = PB(c), *a = PB(a), *b = PB(b);
            const int32_t n = i->n, p1 = !(i->m & 2), p2 = !(i->m & 4), p3 = !(i->m & 8);
            for (int32_t j = 0; j < n; j++) PB(d)[j] = c[p3 * j] ? a[p1 * j] : b[p2 * j];
            break;
        }
        case FILL4: { const int32_t x = CI(a); for (int32_t j = 0; j < i->n; j++) PI(d)[j] = x; break; }
        case FILL1: memset(PB(d), CB(a), (size_t)i->n); break;
        case COPY: memmove(PB(d), PB(a), (size_t)i->n); break;
        /* moving elements */
        case MOVE4: case MOVE1: {
            const int size = i->op == MOVE4 ? 4 : 1;
            int64_t from = 0;
            if (i->x) {
                if (I(c) < 0 || I(c) >= i->y) FAULT;
                from = I(c) * i->x;
            }
            strided(arena + i->d, arena + i->a + from * size, PI(b), i->k, size);
            break;
        }
        case PUT4: case PUT1: {
            const int size = i->op == PUT4 ? 4 : 1;
            const int64_t at = I(b);
            if (at < 0 || at >= i->k) FAULT;
            memmove(arena + i->d, arena + i->a, (size_t)i->n * size);
            memmove(arena + i->d + at * i->m * size, arena + i->c, (size_t)i->m * size);
            break;
        }
        case SHIFT4: case SHIFT1: {
            const int size = i->op == SHIFT4 ? 4 : 1;
            const size_t row = (size_t)i->m * size, rest = (size_t)(i->n - i->m) * size;
            memmove(arena + i->d, arena + i->a + row, rest);
            memmove(arena + i->d + rest, arena + i->c, row);
            break;
        }
        case GATHER4: case GATHER1: case GATHERREF4: case GATHERREF1: {
            const int size = i->op == GATHER4 || i->op == GATHERREF4 ? 4 : 1, named = i->op >= GATHER4;
            const int64_t row = (int64_t)i->m * size, k = i->k, place = named ? i->a : I(a);
            if (!named && !readable(p, place, row * k, size)) FAULT;
            const int64_t indices = i->x ? I(b) : i->b;
            if (i->x && !readable(p, indices, 4 * (int64_t)i->n, 4)) FAULT;
            const i32 *at = (i32 *)(arena + indices);
            if (row == 4 && size == 4) {
                const i32 *a = (i32 *)(arena + place);
                i32 *d = PI(d);
                for (int32_t j = 0; j < i->n; j++) {
                    const int32_t one = at[j];
                    if ((uint32_t)one >= (uint32_t)k) FAULT;
                    d[j] = a[one];
                }
                break;
            }
            for (int64_t j = 0; j < i->n; j++) {
                const int64_t one = at[j];
                if (one < 0 || one >= k) FAULT;
                memmove(arena + i->d + j * row, arena + place + one * row, (size_t)row);
            }
            break;
        }
        case REF: I(d) = i->a; break;
        case PICK: if (I(b) < 0 || I(b) >= i->k) FAULT; I(d) = i->a + I(b) * i->m; break;
        case PICKREF:
            if (I(b) < 0 || I(b) >= i->k) FAULT;
            I(d) = (int64_t)((uint64_t)I(a) + (uint64_t)(I(b) * i->m));
            break;
        case DEREF: {
            const int64_t place = I(a);
            if (!readable(p, place, i->n, 1)) FAULT;
            memmove(PB(d), arena + place, (size_t)i->n);
            break;
        }
        case ELEMREFF: case ELEMREFI: case ELEMREFB: {
            const int64_t place = I(a), at = I(b), size = i->op == ELEMREFB ? 1 : 4;
            if (at < 0 || at >= i->n || !readable(p, place, i->n * size, size)) FAULT;
            const char *one = arena + place + at * size;
            if (i->op == ELEMREFF) F(d) = (double)*(f32 *)one;
            else I(d) = i->op == ELEMREFI ? *(i32 *)one : *(u8 *)one;
            break;
        }
        case SCATTER: {
            const i32 *at = PI(a), k = i->k;
            const f32 *value = PF(b);
            f64 *sums = (f64 *)(arena + i->c);
            for (int32_t j = 0; j < k; j++) sums[j] = 0;
            for (int32_t j = 0; j < i->n; j++) {
                const int32_t one = at[j];
                if (one < 0 || one >= k) FAULT;
                sums[one] += (double)value[j];
            }
            int odd = 0;
            for (int32_t j = 0; j < k; j++) PF(d)[j] = (float)sums[j], odd |= sums[j] != sums[j];
            if (odd && !any_nan(value, i->n)) FAULT;
            break;
        }
        case TOPF:
            if (any_nan(PF(a), i->n)) FAULT;
            top_floats(PF(a), i->n, i->k, PI(d), PI(c));
            break;
        case TOPI: top_ints(PI(a), i->n, i->k, PI(d), PI(c)); break;
        /* choices and sums */
        case ARGMAXF: if (any_nan(PF(a), i->n)) FAULT; BEST(f32, PF, >)
        case ARGMAXI: BEST(i32, PI, >)
        case ARGMAXB: BEST(u8, PB, >)
        case ARGMINF: if (any_nan(PF(a), i->n)) FAULT; BEST(f32, PF, <)
        case ARGMINI: BEST(i32, PI, <)
        case ARGMINB: BEST(u8, PB, <)
        case LARGEF: case SMALLF: {
            const f32 *a = PF(a);
            float best = a[0];
            if (any_nan(a, i->n)) FAULT;
            if (i->op == LARGEF) for (int32_t j = 1; j < i->n; j++) best = a[j] > best ? a[j] : best;
            else for (int32_t j = 1; j < i->n; j++) best = a[j] < best ? a[j] : best;
            F(d) = (double)best + 0.0;
            break;
        }
        case LARGEI: EXTREME(i32, PI, >)
        case LARGEB: EXTREME(u8, PB, >)
        case SMALLI: EXTREME(i32, PI, <)
        case SMALLB: EXTREME(u8, PB, <)
        case TOTALF: { float made; if (!sum(PF(a), i->n, 1, &made)) FAULT; F(d) = (double)made; break; }
        case TOTALI: { int64_t made = 0; for (int32_t j = 0; j < i->n; j++) made += PI(a)[j]; I(d) = made; break; }
        case COUNTF: { int64_t made = 0; for (int32_t j = 0; j < i->n; j++) made += PF(a)[j] != 0; I(d) = made; break; }
        case COUNTI: { int64_t made = 0; for (int32_t j = 0; j < i->n; j++) made += PI(a)[j] != 0; I(d) = made; break; }
        case COUNTB: { int64_t made = 0; for (int32_t j = 0; j < i->n; j++) made += PB(a)[j]; I(d) = made; break; }
        case ANY: { int made = 0; for (int32_t j = 0; j < i->n; j++) made |= PB(a)[j]; I(d) = made != 0; break; }
        case ALL: { int made = 1; for (int32_t j = 0; j < i->n; j++) made &= PB(a)[j] != 0; I(d) = made; break; }
        case SUMF:
            for (int64_t r = 0; r < i->n; r++)
                for (int64_t c = 0; c < i->k; c++)
                    if (!sum(PF(a) + r * i->m * i->k + c, i->m, i->k, PF(d) + r * i->k + c)) FAULT;
            break;
        case SUMI: OVER(i32, PI, i32, PI, a[0], found = WRAP(U(found) + U(y));)
        case SUMB: OVER(u8, PB, i32, PI, a[0], found += y;)
        case MOSTF: OVER(f32, PF, f32, PF, a[0], found = found > y || found != found ? found : y;)
        case MOSTI: OVER(i32, PI, i32, PI, a[0], found = y > found ? y : found;)
        case MOSTB: OVER(u8, PB, u8, PB, a[0], found |= y;)
        case LEASTF: OVER(f32, PF, f32, PF, a[0], found = found < y || found != found ? found : y;)
        case LEASTI: OVER(i32, PI, i32, PI, a[0], found = y < found ? y : found;)
        case LEASTB: OVER(u8, PB, u8, PB, a[0], found &= y;)
        case WHICHF: if (any_nan(PF(a), (int64_t)i->n * i->m * i->k)) FAULT; WHICH(f32, PF)
        case WHICHI: WHICH(i32, PI)
        case WHICHB: WHICH(u8, PB)
        case MATMULF: if (!product(PF(a), PF(b), PF(d), i->n, i->m, i->k)) FAULT; break;
        case MATMULI:
            for (int64_t r = 0; r < i->n; r++)
                for (int64_t c = 0; c < i->k; c++) {
                    uint32_t found = 0;
                    for (int64_t j = 0; j < i->m; j++) found += U(PI(a)[r * i->m + j]) * U(PI(b)[j * i->k + c]);
                    PI(d)[r * i->k + c] = WRAP(found);
                }
            break;
        /* where to go on, and what comes of it */
        case JUMP:
            if (code + i->k <= i && (budget -= price[i - code + 1] - price[i->k]) < 0) FAULT;
            i = code + i->k - 1;
            break;
        case UNLESS:
            if (I(a)) break;
            if (code + i->k <= i && (budget -= price[i - code + 1] - price[i->k]) < 0) FAULT;
            i = code + i->k - 1;
            break;
        case NEXT: /* of a loop: from d on in steps of m, until n */
            I(d) = (int64_t)((uint64_t)I(d) + (uint64_t)(int64_t)i->m);
            if (I(d) == i->x) break;
            if (code + i->k <= i && (budget -= price[i - code + 1] - price[i->k]) < 0) FAULT;
            i = code + i->k - 1;
            break;
        case STOREREF: {
            const int64_t place = I(a);
            if (place == i->d) break; /* it stays as it is */
            if (!readable(p, place, i->n, 1)) FAULT;
            keep(machine, i);
            memmove(PB(d), arena + place, (size_t)i->n);
            break;
        }
        case STORE:
            keep(machine, i);
            if (i->n == 8) memcpy(PB(d), PB(a), 8); /* a scalar, as most are */
            else memmove(PB(d), PB(a), (size_t)i->n);
            break;
        case TELLF: CF(d) = (float)F(a); break;
        case TELLA: for (int64_t j = 0; j < i->n; j++) PF(d)[j * i->m] = PF(a)[j]; break;
        case TELLB: for (int64_t j = 0; j < i->n; j++) PF(d)[j * i->m] = (float)PB(a)[j]; break;
        case ANSWER: /* before anything is stored: what is no action is a fault */
            p->reason = I(b);
            if (!p->rule && (p->reason < 0 || p->reason >= p->reasons)) FAULT;
            if (machine->controls) {
                if (any_nan(PF(a), machine->controls)) FAULT;
                memcpy(p->vector, PF(a), 4 * (size_t)machine->controls);
            } else {
                p->action = I(a);
                if (p->action < 0 || p->action >= machine->actions) FAULT;
            }
            break;
        case END: p->fault = 0; return 1;
        }
    }
fault:
    p->fault = 1, p->stopped = (int32_t)(i - code), p->action = p->reason = -1;
    return 0;
}

/* --- the doors (core.h) ------------------------------------------------------------------------------------------- */

Machine *machine_open(const void *program, size_t bytes, char *error, size_t room) {
    Machine *m = calloc(1, sizeof(Machine));
    int32_t *words = malloc(bytes + 4);
    Loader l = {.machine = m, .words = words, .left = (int64_t)(bytes / 4), .op = -1};
    if (!m || !words) {
        l.error = "there is too little memory";
    } else {
        memcpy(words, program, bytes);
        build(&l, bytes % 4 ? -1 : (int64_t)(bytes / 4));
    }
    free(words);
    if (!l.error) return m;
    snprintf(error, room, "a program is refused: %s%s%s", l.error, l.op < 0 ? "" : ", at ", l.op < 0 ? "" : titles[l.op]);
    machine_close(m);
    return NULL;
}

MachineForm machine_form(const Machine *m) {
    MachineForm form = {.scene = m->scene, .actions = m->actions, .controls = m->controls, .memories = m->memories,
                        .programs = m->programs, .publishes = m->publishes, .reasons = m->program[0].reasons,
                        .fallback = m->plain_fallback, .settings = m->fallback};
    for (int32_t j = 0; j < m->programs; j++) form.rules += m->program[j].rule;
    return form;
}

char *machine_memory(const Machine *m, int i, size_t *bytes) {
    *bytes = (size_t)m->memory_size[i];
    return m->arena + m->memory[i];
}

const char *machine_before(const Machine *m, int i, size_t *bytes) {
    const int64_t from = m->memory[i], size = m->memory_size[i];
    char *const made = m->before + (from - m->memory[0]);
    memcpy(made, m->arena + from, (size_t)size);
    for (int32_t j = m->stored_now; j--;) { /* the last first: the oldest counts */
        const Kept *k = &m->kept[m->stored[j]];
        if (k->at >= from && k->at < from + size) memcpy(made + (k->at - from), k->old, (size_t)k->bytes);
    }
    *bytes = (size_t)size;
    return made;
}

float *machine_scene(const Machine *m) { return (float *)m->arena; }

/* Of the step that now begins nothing is stored yet. */
static void begin(Machine *m) {
    m->step++;
    m->stored_now = 0;
}

int machine_track(Machine *m) {
    begin(m);
    return run(m, &m->program[0]);
}

/* Each rule is given the action so far. */
int machine_decide(Machine *m) {
    int odd = 0;
    int64_t action = 0;
    begin(m);
    for (int32_t j = 0; j < m->programs; j++) {
        Program *p = &m->program[j];
        const size_t bytes = 4 * (size_t)m->controls;
        if (p->rule && m->controls) memcpy(m->arena + p->param, m->action, bytes);
        else if (p->rule) memcpy(m->arena + p->param, &action, 8);
        if (!run(m, p)) {
            odd = 1, p->action = m->plain_fallback;
            memcpy(p->vector, m->fallback, bytes);
        }
        if (!m->controls) {
            odd |= j && p->action != action;
            action = p->action;
        } else {
            int same = j > 0;
            for (int32_t c = 0; same && c < m->controls; c++) same = p->vector[c] == m->action[c];
            odd |= j && !same;
            if (!same) memcpy(m->action, p->vector, bytes);
        }
    }
    return !odd;
}

MachineTold machine_told(const Machine *m, int program) {
    const Program *p = &m->program[program];
    return (MachineTold){p->fault, p->fault ? p->stopped : -1, p->action, p->reason, p->vector};
}

const char *machine_op(int number) { return number >= 0 && number < COUNT ? titles[number] : NULL; }
