/* What the parts of the engine know of each other. Nothing here or in them knows of Python: engine.c is its door, and
   bundle.c that of programs without it. */

#ifndef TRIUNE_CORE_H
#define TRIUNE_CORE_H

#include <stddef.h>
#include <stdint.h>

/* level.c: the instruction sets that code is compiled for, narrowest first. */
enum { PLAIN, AVX2, AVX512, LEVELS };

int engine_level(void);         /* the widest one that this processor has, or a lower one that was asked for */
const char *engine_limit(int most); /* no wider than that from now on; below 0: as it is. Its name */

/* eyes.c: the detector. */
typedef struct Eyes Eyes;
enum { WINDOW, ALONE, ANEW }; /* ways to look: through the window; the frame as it is; as it is and everything anew */

Eyes *eyes_open(const int32_t *numbers, size_t count, const float *weights, size_t floats, const char **error);
void eyes_close(Eyes *);
size_t eyes_bytes(const Eyes *);  /* of a frame */
int eyes_values(const Eyes *);    /* of a scene */
void eyes_sides(const Eyes *, int *height, int *width);
const float *eyes_look(Eyes *, const unsigned char *frame, int way); /* the scene, there until the next look */
void eyes_restart(Eyes *);        /* past frames leave the window */
double eyes_took(Eyes *);         /* share of all positions that was looked at since this was last asked */
size_t eyes_kept(const Eyes *);   /* bytes of past frames: 0 without a window */
void eyes_save(const Eyes *, void *kept);
void eyes_load(Eyes *, const void *kept);

/* screen.c: where `now` uint8[n] differs from `last` uint8[n], their colours, uint8[256][4] as red, green, blue and
   whether they are known, go into `picture` uint8[n][3], and the numbers into `last`. 0 at a colour that is not known:
   then the rest is left as it is. */
int screen_paint(const uint8_t *now, uint8_t *last, const uint8_t *colours, uint8_t *picture, size_t n);

/* machine.c: tracker, policy and rules. */
typedef struct Machine Machine;
typedef struct {
    int32_t scene, actions, controls, memories, programs, rules, publishes, reasons; /* reasons: of the first program */
    int64_t fallback;      /* an action, or */
    const float *settings; /* float32[controls] */
} MachineForm;
typedef struct {
    int fault;             /* then the action is the fallback, and the reason -1 */
    int32_t stopped;       /* the instruction that faulted */
    int64_t action, reason;
    const float *vector;   /* float32[controls] */
} MachineTold;

Machine *machine_open(const void *program, size_t bytes, char *error, size_t room); /* NULL: `error` says why */
void machine_close(Machine *);
MachineForm machine_form(const Machine *);
char *machine_memory(const Machine *, int i, size_t *bytes);       /* memory i as it is */
const char *machine_before(const Machine *, int i, size_t *bytes); /* and before the last step */
float *machine_scene(const Machine *);                             /* float32[scene] of the step: write it first */
int machine_track(Machine *);      /* the first program alone, which may write into the scene; 0: a fault */
int machine_decide(Machine *);     /* policy, then rules; 0: a fault, or a rule changed an action */
MachineTold machine_told(const Machine *, int program);
const char *machine_op(int number); /* the name of an instruction; NULL: there is none */

#endif
