/* What this processor can do. */

#include "core.h"

static const char *const names[LEVELS] = {"plain", "AVX2", "AVX-512"};
static int limit = LEVELS - 1;

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

int engine_level(void) {
    const int most = widest(); /* some loads: whoever is first needs no lock */
    return limit < most ? limit : most;
}

const char *engine_limit(int most) {
    if (most >= 0) limit = most < LEVELS ? most : LEVELS - 1;
    return names[engine_level()];
}
