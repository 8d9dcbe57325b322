/* A console's screen in colours: its pixels are numbers of colours, and few of them change from frame to frame. */

#include "core.h"

#include <string.h>

enum { RUN = 64 }; /* pixels that are compared at once */

int screen_paint(const uint8_t *now, uint8_t *last, const uint8_t *colours, uint8_t *picture, size_t n) {
    for (size_t run = 0; run < n; run += RUN) {
        const size_t end = run + RUN < n ? run + RUN : n;
        if (!memcmp(now + run, last + run, end - run)) continue;
        for (size_t i = run; i < end; i++) {
            const uint8_t *colour = colours + 4 * now[i];
            if (now[i] == last[i]) continue;
            if (!colour[3]) return 0;
            memcpy(picture + 3 * i, colour, 3);
            last[i] = now[i];
        }
    }
    return 1;
}
