/* What the files of the engine share. Each of them adds its functions to the one module, `native._engine`. */

#ifndef TRIUNE_ENGINE_H
#define TRIUNE_ENGINE_H

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000 /* one build serves Python 3.11 and every later one */
#include <Python.h>

/* The instruction sets that code is compiled for, narrowest first; which of them this processor has is asked once. */
enum { PLAIN, AVX2, AVX512, LEVELS };

int engine_level(void); /* the widest one that this processor has, or a lower one that was asked for */

extern PyMethodDef eyes_methods[];
extern PyMethodDef machine_methods[];

#endif
