/* A deployed system in C: frames in, actions out. No Python, no ONNX Runtime, no other library than C's own.

       triune export breakout breakout.triune
       cc -O3 -std=c11 -ffp-contract=off -o game game.c native/{bundle,eyes,machine,level}.c -lm

   `-ffp-contract=off` belongs to the result: with it a bundle decides on every machine as it does in play. A bundle
   may come from a stranger: what it says is checked when it is opened, and again where it is used. One `triune` is for
   one thread at a time; several of them have nothing in common. docs/bundle.md says more. */

#ifndef TRIUNE_H
#define TRIUNE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct triune triune;

enum { TRIUNE_ERROR = 200 };                                         /* characters of an error */
enum { TRIUNE_ACTIONS, TRIUNE_REASONS, TRIUNE_RULES, TRIUNE_SCENE }; /* what has names */

typedef struct {
    int32_t action;          /* after all rules: a number among TRIUNE_ACTIONS; -1 where they are controls */
    int32_t proposed;        /* the policy's own */
    int32_t reason;          /* among TRIUNE_REASONS; -1: the policy could not answer */
    const float *controls;   /* float32[actions] in place of `action`, NULL without controls */
    const float *wanted;     /* in place of `proposed`, perhaps beyond their bounds */
    const uint8_t *overruled; /* of each of TRIUNE_RULES, in order: whether it changed the action */
    const uint8_t *faults;   /* of the policy, then of each rule: whether it could not answer */
    const float *scene;      /* float32[values]: what is seen and tracked; names in TRIUNE_SCENE */
} triune_decision;           /* what it points to is there until the next step */

/* A bundle from a file, or from memory, which is copied. NULL: `error` says in words why not. */
triune *triune_open(const char *path, char error[TRIUNE_ERROR]);
triune *triune_read(const void *data, size_t bytes, char error[TRIUNE_ERROR]);
void triune_close(triune *);

/* Decide on a frame: uint8[height][width][3], native RGB, unscaled. Always an action: the fallback, and what is
   remembered as it was, where the policy, or seeing, faults. Whether nothing did. */
int triune_step(triune *, const uint8_t *frame, triune_decision *);
void triune_reset(triune *); /* a new episode; so it begins, too */

void triune_sides(const triune *, int *height, int *width);
int triune_count(const triune *, int list);
const char *triune_name(const triune *, int list, int i); /* "" where there is none */
const char *triune_manifest(const triune *);              /* JSON: task, fallback, units, control_hz, deadline_ms ... */

/* All that an episode remembers, to go on from it later, or in a second episode by turns. */
size_t triune_state(const triune *); /* bytes */
void triune_save(const triune *, void *state);
void triune_load(triune *, const void *state);

#ifdef __cplusplus
}
#endif

#endif
