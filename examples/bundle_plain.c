/* Run a native bundle in C, on frames from anywhere: uint8 RGB frames one after another on standard input.

   triune export breakout breakout.triune
   cc -O3 -std=c11 -ffp-contract=off -Inative -o plain examples/bundle_plain.c native/{bundle,eyes,machine,level}.c -lm
   ./plain breakout.triune < frames.raw */

#include <stdio.h>
#include <stdlib.h>

#include "triune.h"

int main(int count, char **words) {
    char error[TRIUNE_ERROR];
    triune *bot = count > 1 ? triune_open(words[1], error) : NULL;
    if (!bot) return fprintf(stderr, "%s: %s\n", count > 1 ? words[1] : "give a bundle", count > 1 ? error : "FILE.triune"), 1;
    int height, width;
    triune_sides(bot, &height, &width);
    const size_t bytes = (size_t)height * width * 3;
    uint8_t *frame = malloc(bytes);
    triune_decision d;
    while (frame && fread(frame, 1, bytes, stdin) == bytes) {
        triune_step(bot, frame, &d);
        if (d.controls) /* a value for each name, in place of one of the names */
            for (int i = 0; i < triune_count(bot, TRIUNE_ACTIONS); i++)
                printf("%s=%.9g ", triune_name(bot, TRIUNE_ACTIONS, i), d.controls[i]);
        else
            printf("%s ", triune_name(bot, TRIUNE_ACTIONS, d.action));
        puts(d.reason < 0 ? "fault" : triune_name(bot, TRIUNE_REASONS, d.reason));
    }
    free(frame);
    triune_close(bot);
    return 0;
}
