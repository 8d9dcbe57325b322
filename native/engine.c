/* The module `native._engine`: what this processor can do, and the functions of the other files. */

#include "engine.h"

static const char *const names[LEVELS] = {"plain", "AVX2", "AVX-512"};
static int chosen = PLAIN;

int engine_level(void) { return chosen; }

static int widest(void) {
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512dq"))
        return AVX512;
    if (__builtin_cpu_supports("avx2")) return AVX2;
#endif
    return PLAIN;
}

/* level(most=None) -> str: the instruction set in use from now on, no wider than `most`, its number. */
static PyObject *level(PyObject *self, PyObject *const *given, Py_ssize_t count) {
    (void)self;
    if (count > 1) return PyErr_Format(PyExc_TypeError, "level() takes at most one number");
    if (count) {
        long most = PyLong_AsLong(given[0]);
        if (most == -1 && PyErr_Occurred()) return NULL;
        if (most < 0) return PyErr_Format(PyExc_ValueError, "a level is a number from 0, got %ld", most);
        chosen = most < widest() ? (int)most : widest();
    }
    return PyUnicode_FromString(names[chosen]);
}

static PyMethodDef methods[] = {
    {"level", (PyCFunction)(void (*)(void))level, METH_FASTCALL, "The instruction set in use; level(n): at most n."},
    {NULL, NULL, 0, NULL},
};

static int fill(PyObject *module) {
    chosen = widest();
    return PyModule_AddFunctions(module, eyes_methods) || PyModule_AddFunctions(module, machine_methods) ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)fill}, {0, NULL}};
static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_engine",
    .m_doc = "What of Triune is compiled; native/*.py are its doors.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__engine(void) { return PyModuleDef_Init(&definition); }
