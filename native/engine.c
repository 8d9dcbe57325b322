/* The module `native._engine`: what Python sees of the other files. Whatever they check they check there; here it is
   buffers and capsules. One build serves Python 3.11 and every later one. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include "core.h"
#include "triune.h"

#include <stdlib.h>
#include <string.h>

static const char *const EYES = "native.eyes", *const MACHINE = "native.machine", *const BUNDLE = "native.bundle";

/* A capsule's pointer when there are as many arguments as there must be, else NULL and a TypeError. */
static void *owner(const char *kind, PyObject *const *given, Py_ssize_t count, Py_ssize_t wanted, const char *form) {
    if (count == wanted) return PyCapsule_GetPointer(given[0], kind);
    PyErr_Format(PyExc_TypeError, "%s", form);
    return NULL;
}

/* level(most=None) -> str: the instruction set in use from now on, no wider than `most`, its number. */
static PyObject *py_level(PyObject *self, PyObject *const *given, Py_ssize_t count) {
    long most = -1;
    (void)self;
    if (count > 1) return PyErr_Format(PyExc_TypeError, "level() takes at most one number");
    if (count) {
        most = PyLong_AsLong(given[0]);
        if (most == -1 && PyErr_Occurred()) return NULL;
        if (most < 0) return PyErr_Format(PyExc_ValueError, "a level is a number from 0, got %ld", most);
    }
    return PyUnicode_FromString(engine_limit(most < LEVELS ? (int)most : LEVELS));
}

/* --- the detector ------------------------------------------------------------------------------------------------- */

static void close_eyes(PyObject *capsule) { eyes_close(PyCapsule_GetPointer(capsule, EYES)); }

/* eyes_new(numbers int32, weights float32) -> eyes; ValueError says what is wrong with the plan. */
static PyObject *py_eyes_new(PyObject *self, PyObject *const *given, Py_ssize_t count) {
    Py_buffer numbers, floats;
    (void)self;
    if (count != 2) return PyErr_Format(PyExc_TypeError, "eyes_new(numbers, weights)");
    if (PyObject_GetBuffer(given[0], &numbers, PyBUF_SIMPLE)) return NULL;
    if (PyObject_GetBuffer(given[1], &floats, PyBUF_SIMPLE)) {
        PyBuffer_Release(&numbers);
        return NULL;
    }
    const char *error = "";
    Eyes *e = eyes_open(numbers.buf, (size_t)numbers.len / 4, floats.buf, (size_t)floats.len / 4, &error);
    PyBuffer_Release(&numbers);
    PyBuffer_Release(&floats);
    if (!e) return PyErr_Format(PyExc_ValueError, "the plan of a network is refused: %s", error);
    PyObject *made = PyCapsule_New(e, EYES, close_eyes);
    if (!made) eyes_close(e);
    return made;
}

/* eyes_see(eyes, frame, scene, way): one look at a frame uint8, written to scene float32. way: 0 through the window,
   1 the frame as it is, 2 as it is and everything anew. */
static PyObject *py_eyes_see(PyObject *self, PyObject *const *given, Py_ssize_t count) {
    Py_buffer frame, scene;
    (void)self;
    Eyes *e = owner(EYES, given, count, 4, "eyes_see(eyes, frame, scene, way)");
    long way = e ? PyLong_AsLong(given[3]) : -1;
    if (!e || (way == -1 && PyErr_Occurred())) return NULL;
    if (PyObject_GetBuffer(given[1], &frame, PyBUF_SIMPLE)) return NULL;
    if (PyObject_GetBuffer(given[2], &scene, PyBUF_WRITABLE)) {
        PyBuffer_Release(&frame);
        return NULL;
    }
    size_t bytes = eyes_bytes(e), values = (size_t)eyes_values(e) * sizeof(float);
    int fits = (size_t)frame.len == bytes && (size_t)scene.len == values;
    if (fits) memcpy(scene.buf, eyes_look(e, frame.buf, (int)way), values);
    PyBuffer_Release(&frame);
    PyBuffer_Release(&scene);
    if (!fits) return PyErr_Format(PyExc_ValueError, "this network reads %zd bytes and writes %zd", (Py_ssize_t)bytes, (Py_ssize_t)values);
    Py_RETURN_NONE;
}

/* eyes_reset(eyes): a new episode, past frames leave the window. */
static PyObject *py_eyes_reset(PyObject *self, PyObject *const *given, Py_ssize_t count) {
    (void)self;
    Eyes *e = owner(EYES, given, count, 1, "eyes_reset(eyes)");
    if (!e) return NULL;
    eyes_restart(e);
    Py_RETURN_NONE;
}

/* eyes_share(eyes) -> float: of all positions of the trunks, the share that was looked at since it was last asked. */
static PyObject *py_eyes_share(PyObject *self, PyObject *const *given, Py_ssize_t count) {
    (void)self;
    Eyes *e = owner(EYES, given, count, 1, "eyes_share(eyes)");
    return e ? PyFloat_FromDouble(eyes_took(e)) : NULL;
}

/* --- the machine -------------------------------------------------------------------------------------------------- */

static void close_machine(PyObject *capsule) { machine_close(PyCapsule_GetPointer(capsule, MACHINE)); }

/* machine_new(program) -> machine: a copy of bytes that bytecode.py made, checked. ValueError says what is wrong. */
static PyObject *py_machine_new(PyObject *self, PyObject *const *given, Py_ssize_t count) {
    Py_buffer data;
    char error[TRIUNE_ERROR];
    (void)self;
    if (count != 1) return PyErr_Format(PyExc_TypeError, "machine_new(program)");
    if (PyObject_GetBuffer(given[0], &data, PyBUF_SIMPLE)) return NULL;
    Machine *m = machine_open(data.buf, (size_t)data.len, error, sizeof error);
    PyBuffer_Release(&data);
    if (!m) return PyErr_Format(PyExc_ValueError, "%s", error);
    PyObject *made = PyCapsule_New(m, MACHINE, close_machine);
    if (!made) machine_close(m);
    return made;
}

static int memory_of(const Machine *m, PyObject *number) {
    const int memories = machine_form(m).memories;
    long j = PyLong_AsLong(number);
    if (j == -1 && PyErr_Occurred()) return -1;
    if (j >= 0 && j < memories) return (int)j;
    PyErr_Format(PyExc_IndexError, "there are memories 0 .. %d, asked for %ld", memories - 1, j);
    return -1;
}

/* machine_load(machine, i, bytes): memory i from now on. */
static PyObject *py_machine_load(PyObject *self, PyObject *const *given, Py_ssize_t count) {
    Py_buffer data;
    size_t bytes;
    (void)self;
    Machine *m = owner(MACHINE, given, count, 3, "machine_load(machine, i, bytes)");
    int j = m ? memory_of(m, given[1]) : -1;
    if (j < 0 || PyObject_GetBuffer(given[2], &data, PyBUF_SIMPLE)) return NULL;
    char *memory = machine_memory(m, j, &bytes);
    int fits = (size_t)data.len == bytes;
    if (fits) memcpy(memory, data.buf, bytes);
    PyBuffer_Release(&data);
    if (!fits) return PyErr_Format(PyExc_ValueError, "memory %d has %zd bytes", j, (Py_ssize_t)bytes);
    Py_RETURN_NONE;
}

/* machine_save(machine, i) -> bytes of memory i. */
static PyObject *py_machine_save(PyObject *self, PyObject *const *given, Py_ssize_t count) {
    size_t bytes;
    (void)self;
    Machine *m = owner(MACHINE, given, count, 2, "machine_save(machine, i)");
    int j = m ? memory_of(m, given[1]) : -1;
    if (j < 0) return NULL;
    const char *memory = machine_memory(m, j, &bytes);
    return PyBytes_FromStringAndSize(memory, (Py_ssize_t)bytes);
}

/* machine_before(machine, i) -> bytes of memory i as it was before the last step. */
static PyObject *py_machine_before(PyObject *self, PyObject *const *given, Py_ssize_t count) {
    size_t bytes;
    (void)self;
    Machine *m = owner(MACHINE, given, count, 2, "machine_before(machine, i)");
    int j = m ? memory_of(m, given[1]) : -1;
    if (j < 0) return NULL;
    const char *memory = machine_before(m, j, &bytes);
    return PyBytes_FromStringAndSize(memory, (Py_ssize_t)bytes);
}

/* The scene of the step, float32; 0: it is of another size. */
static int see(Machine *m, PyObject *scene) {
    Py_buffer data;
    const int32_t values = machine_form(m).scene;
    if (PyObject_GetBuffer(scene, &data, PyBUF_SIMPLE)) return 0;
    int fits = data.len == 4 * (Py_ssize_t)values;
    if (fits) memcpy(machine_scene(m), data.buf, (size_t)data.len);
    PyBuffer_Release(&data);
    if (!fits) PyErr_Format(PyExc_ValueError, "this program reads scenes of %d values", (int)values);
    return fits;
}

/* machine_track(machine, scene, tracked) -> bool: the first program alone, and what it made of the scene. False: a
   fault; `tracked` is not written then. */
static PyObject *py_machine_track(PyObject *self, PyObject *const *given, Py_ssize_t count) {
    Py_buffer out;
    (void)self;
    Machine *m = owner(MACHINE, given, count, 3, "machine_track(machine, scene, tracked)");
    if (!m || !see(m, given[1]) || PyObject_GetBuffer(given[2], &out, PyBUF_WRITABLE)) return NULL;
    const int32_t values = machine_form(m).scene;
    int fits = out.len == 4 * (Py_ssize_t)values;
    int good = fits && machine_track(m);
    if (good) memcpy(out.buf, machine_scene(m), (size_t)out.len);
    PyBuffer_Release(&out);
    if (!fits) return PyErr_Format(PyExc_ValueError, "this program makes scenes of %d values", (int)values);
    return PyBool_FromLong(good);
}

/* machine_decide(machine, scene) -> int: one step of the policy and of the rules in order, each of which is given the
   action so far. Where nothing faulted and no rule changed anything: reason * actions + action, with controls the
   reason. Else -1, and machine_told says more. */
static PyObject *py_machine_decide(PyObject *self, PyObject *const *given, Py_ssize_t count) {
    (void)self;
    Machine *m = owner(MACHINE, given, count, 2, "machine_decide(machine, scene)");
    if (!m || !see(m, given[1])) return NULL;
    if (!machine_decide(m)) return PyLong_FromLong(-1);
    const MachineTold policy = machine_told(m, 0);
    const MachineForm form = machine_form(m);
    return PyLong_FromLongLong(form.controls ? policy.reason : policy.reason * form.actions + policy.action);
}

/* machine_told(machine) -> [(fault, instruction, action, reason), ...] of each program's last step; with controls the
   action is bytes of float32. */
static PyObject *py_machine_told(PyObject *self, PyObject *const *given, Py_ssize_t count) {
    (void)self;
    Machine *m = owner(MACHINE, given, count, 1, "machine_told(machine)");
    PyObject *found = m ? PyList_New(0) : NULL;
    for (int32_t j = 0; found && j < machine_form(m).programs; j++) {
        const MachineTold told = machine_told(m, j);
        const int32_t controls = machine_form(m).controls;
        PyObject *action = controls ? PyBytes_FromStringAndSize((const char *)told.vector, 4 * (Py_ssize_t)controls)
                                    : PyLong_FromLongLong(told.action);
        PyObject *one = action ? Py_BuildValue("(OiNL)", told.fault ? Py_True : Py_False, (int)told.stopped, action,
                                               (long long)told.reason) : NULL;
        if (!one || PyList_Append(found, one)) Py_CLEAR(found);
        Py_XDECREF(one);
    }
    return found;
}

/* machine_ops() -> names of the instructions, each at its number. */
static PyObject *py_machine_ops(PyObject *self, PyObject *const *given, Py_ssize_t count) {
    (void)self, (void)given, (void)count;
    PyObject *found = PyList_New(0);
    for (int j = 0; found && machine_op(j); j++) {
        PyObject *one = PyUnicode_FromString(machine_op(j));
        if (!one || PyList_Append(found, one)) Py_CLEAR(found);
        Py_XDECREF(one);
    }
    return found;
}

/* --- the bundle --------------------------------------------------------------------------------------------------- */

static void close_bundle(PyObject *capsule) { triune_close(PyCapsule_GetPointer(capsule, BUNDLE)); }

/* bundle_open(data) -> bundle; ValueError says what is wrong with the file. */
static PyObject *py_bundle_open(PyObject *self, PyObject *const *given, Py_ssize_t count) {
    Py_buffer data;
    char error[TRIUNE_ERROR];
    (void)self;
    if (count != 1) return PyErr_Format(PyExc_TypeError, "bundle_open(data)");
    if (PyObject_GetBuffer(given[0], &data, PyBUF_SIMPLE)) return NULL;
    triune *t = triune_read(data.buf, (size_t)data.len, error);
    PyBuffer_Release(&data);
    if (!t) return PyErr_Format(PyExc_ValueError, "%s", error);
    PyObject *made = PyCapsule_New(t, BUNDLE, close_bundle);
    if (!made) triune_close(t);
    return made;
}

/* bundle_form(bundle) -> (height, width, bytes of a state, [names of actions, of reasons, of rules, of scene values]). */
static PyObject *py_bundle_form(PyObject *self, PyObject *const *given, Py_ssize_t count) {
    int height, width;
    (void)self;
    triune *t = owner(BUNDLE, given, count, 1, "bundle_form(bundle)");
    PyObject *lists = t ? PyList_New(0) : NULL;
    for (int k = TRIUNE_ACTIONS; lists && k <= TRIUNE_SCENE; k++) {
        PyObject *names = PyList_New(0);
        for (int i = 0; names && i < triune_count(t, k); i++) {
            const char *name = triune_name(t, k, i);
            PyObject *one = PyUnicode_DecodeUTF8(name, (Py_ssize_t)strlen(name), "replace");
            if (!one || PyList_Append(names, one)) Py_CLEAR(names);
            Py_XDECREF(one);
        }
        if (!names || PyList_Append(lists, names)) Py_CLEAR(lists);
        Py_XDECREF(names);
    }
    if (!lists) return NULL;
    triune_sides(t, &height, &width);
    return Py_BuildValue("(iinN)", height, width, (Py_ssize_t)triune_state(t), lists);
}

/* bundle_reset(bundle): a new episode. */
static PyObject *py_bundle_reset(PyObject *self, PyObject *const *given, Py_ssize_t count) {
    (void)self;
    triune *t = owner(BUNDLE, given, count, 1, "bundle_reset(bundle)");
    if (!t) return NULL;
    triune_reset(t);
    Py_RETURN_NONE;
}

static PyObject *state(PyObject *const *given, Py_ssize_t count, int save) {
    Py_buffer data;
    triune *t = owner(BUNDLE, given, count, 2, "of a bundle and its state");
    if (!t || PyObject_GetBuffer(given[1], &data, save ? PyBUF_WRITABLE : PyBUF_SIMPLE)) return NULL;
    const int fits = (size_t)data.len == triune_state(t);
    if (fits && save) triune_save(t, data.buf);
    else if (fits) triune_load(t, data.buf);
    PyBuffer_Release(&data);
    if (!fits) return PyErr_Format(PyExc_ValueError, "a state of this bundle has %zd bytes", (Py_ssize_t)triune_state(t));
    Py_RETURN_NONE;
}

/* bundle_save(bundle, state), bundle_load(bundle, state): what it remembers, uint8. */
static PyObject *py_bundle_save(PyObject *self, PyObject *const *given, Py_ssize_t count) {
    (void)self;
    return state(given, count, 1);
}

static PyObject *py_bundle_load(PyObject *self, PyObject *const *given, Py_ssize_t count) {
    (void)self;
    return state(given, count, 0);
}

/* bundle_step(bundle, frame, scene) -> (action, proposed, reason, overruled, faults): one step; the tracked scene is
   written to `scene`. The last two are bytes, one a rule, of faults the policy's first; controls are bytes of float32. */
static PyObject *py_bundle_step(PyObject *self, PyObject *const *given, Py_ssize_t count) {
    Py_buffer frame, scene;
    int height, width;
    (void)self;
    triune *t = owner(BUNDLE, given, count, 3, "bundle_step(bundle, frame, scene)");
    if (!t || PyObject_GetBuffer(given[1], &frame, PyBUF_SIMPLE)) return NULL;
    if (PyObject_GetBuffer(given[2], &scene, PyBUF_WRITABLE)) {
        PyBuffer_Release(&frame);
        return NULL;
    }
    triune_sides(t, &height, &width);
    const Py_ssize_t bytes = (Py_ssize_t)height * width * 3, values = 4 * (Py_ssize_t)triune_count(t, TRIUNE_SCENE);
    const int fits = frame.len == bytes && scene.len == values;
    triune_decision d;
    if (fits) {
        triune_step(t, frame.buf, &d);
        memcpy(scene.buf, d.scene, (size_t)values);
    }
    PyBuffer_Release(&frame);
    PyBuffer_Release(&scene);
    if (!fits) return PyErr_Format(PyExc_ValueError, "this bundle reads %zd bytes and writes %zd", bytes, values);
    const Py_ssize_t rules = triune_count(t, TRIUNE_RULES), size = 4 * (Py_ssize_t)triune_count(t, TRIUNE_ACTIONS);
    if (!d.controls)
        return Py_BuildValue("(iiiy#y#)", (int)d.action, (int)d.proposed, (int)d.reason, (const char *)d.overruled, rules,
                             (const char *)d.faults, rules + 1);
    return Py_BuildValue("(y#y#iy#y#)", (const char *)d.controls, size, (const char *)d.wanted, size, (int)d.reason,
                         (const char *)d.overruled, rules, (const char *)d.faults, rules + 1);
}

/* --- a console's screen ------------------------------------------------------------------------------------------- */

/* screen_paint(numbers, last, colours, picture) -> bool: of buffers uint8[n], [n], [256, 4] and [n, 3]. */
static PyObject *py_screen_paint(PyObject *self, PyObject *const *given, Py_ssize_t count) {
    Py_buffer view[4] = {0};
    int held = 0, known = 0;
    (void)self;
    if (count != 4) return PyErr_Format(PyExc_TypeError, "screen_paint(numbers, last, colours, picture)");
    while (held < 4 && !PyObject_GetBuffer(given[held], &view[held], held == 1 || held == 3 ? PyBUF_WRITABLE : PyBUF_SIMPLE)) held++;
    const Py_ssize_t n = view[0].len;
    const int fits = held == 4 && view[1].len == n && view[2].len == 4 * 256 && view[3].len == 3 * n;
    if (fits) known = screen_paint(view[0].buf, view[1].buf, view[2].buf, view[3].buf, (size_t)n);
    const int lacking = held < 4; /* then an exception says why */
    while (held) PyBuffer_Release(&view[--held]);
    if (lacking) return NULL;
    if (!fits) return PyErr_Format(PyExc_ValueError, "a screen of n pixels has n numbers twice, 256 colours of 4 bytes, and 3 n bytes of picture");
    return PyBool_FromLong(known);
}

/* --- the module --------------------------------------------------------------------------------------------------- */

#define METHOD(name, text) {#name, (PyCFunction)(void (*)(void))py_##name, METH_FASTCALL, text}
static PyMethodDef methods[] = {
    METHOD(level, "The instruction set in use; level(n): at most n."),
    METHOD(eyes_new, "A network from its plan."),
    METHOD(eyes_see, "A frame to a scene vector."),
    METHOD(eyes_reset, "Forget past frames."),
    METHOD(eyes_share, "The share of the trunks that was looked at since the last question."),
    METHOD(machine_new, "A machine from its program."),
    METHOD(machine_load, "Set a memory."),
    METHOD(machine_save, "Bytes of a memory."),
    METHOD(machine_before, "Bytes of a memory before the last step."),
    METHOD(machine_track, "One step of a tracker."),
    METHOD(machine_decide, "One step of a policy and its rules."),
    METHOD(machine_told, "What each program said last."),
    METHOD(machine_ops, "Names of the instructions."),
    METHOD(screen_paint, "Colour what changed of a screen."),
    METHOD(bundle_open, "A system from the bytes of a native bundle."),
    METHOD(bundle_form, "Sides of its frame, bytes of its state, its names."),
    METHOD(bundle_reset, "A new episode."),
    METHOD(bundle_save, "What it remembers, into a buffer."),
    METHOD(bundle_load, "What it remembers, from a buffer."),
    METHOD(bundle_step, "One step."),
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_engine",
    .m_doc = "What of Triune is compiled; native/*.py are its doors.",
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__engine(void) { return PyModuleDef_Init(&definition); }
