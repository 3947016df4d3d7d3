/* Convolution of two output positions and two output channels at a time. `patches` has room for two windows.
   `weight` holds, per group and pair of output channels, the taps in window order, the two channels alternating. */
static void NAME(const X_T *restrict x, const W_T *restrict weight, const B_T *restrict bias, Y_T *restrict y,
                 U_T *restrict patches, const struct window *p, const struct requant *r)
{
    /* A local copy: codes are characters, so the compiler must think that storing one changes what `r` points to. */
    const struct requant rule = *r;
    const int32_t count = p->kernel_height * p->kernel_width * (p->channels / p->groups);
    const int32_t positions = p->out_height * p->out_width;
    const int32_t channels = p->out_channels, groups = p->groups, outs = channels / groups;
    int32_t group, position, out;
    for (group = 0; group < groups; group++) {
        const int32_t base = group * outs;
        const W_T *group_weight = weight + group * ((outs + 1) / 2) * 2 * count;
        for (position = 0; position < positions; position += 2) {
            const int32_t two = position + 1 < positions;
            const U_T *second = two ? patches + count : patches;
            GATHER(x, patches, p, position, group);
            if (two) {
                GATHER(x, patches + count, p, position + 1, group);
            }
            for (out = 0; out < outs; out += 2) {
                const int32_t o = base + out;
                const int32_t pair = out + 1 < outs;
                Y_T *to = y + position * channels + o;
                ACC_T sums[4];
                sums[0] = sums[2] = (ACC_T)bias[o];
                sums[1] = sums[3] = pair ? (ACC_T)bias[o + 1] : 0;
                DOT(patches, second, group_weight + out * count, count, sums);
                to[0] = REQUANT((SUM_T)sums[0], &rule, o);
                if (two) {
                    to[channels] = REQUANT((SUM_T)sums[2], &rule, o);
                }
                if (pair) {
                    to[1] = REQUANT((SUM_T)sums[1], &rule, o + 1);
                    if (two) {
                        to[channels + 1] = REQUANT((SUM_T)sums[3], &rule, o + 1);
                    }
                }
            }
        }
    }
}
